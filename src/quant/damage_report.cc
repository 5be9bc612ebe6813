#include "quant/damage_report.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "quant/html_page.h"
#include "quant/sweep_report.h"

namespace phidias {
namespace {

constexpr size_t kLayerLinears = 6;
constexpr const char* kRoles[kLayerLinears] = {"q_proj", "k_proj", "v_proj", "dense", "fc1", "fc2"};

std::string Number(const char* format, double value) {
  char text[48];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

std::string Decibels(double value) {
  return std::isfinite(value) ? Number("%.1f", value) : "exact";
}

int SqnrLevel(double decibels) {
  int level = 0;
  for (const double bound : {45.0, 40.0, 35.0, 30.0, 25.0, 20.0}) {
    level += decibels < bound ? 1 : 0;
  }
  return level;
}

std::string FactsText(const DamageResult& result, const DamageFacts& facts) {
  return StrCat(facts.model, ", ", facts.scheme, ": perplexity ", Number("%.5f", result.float_perplexity), " -> ",
                Number("%.5f", result.quantised_perplexity), " (", ChangeText(result.change.relative), ") over ",
                result.tokens, " tokens of ", facts.data, "; outputs compared over ", facts.probe_rows, " rows of ",
                facts.probe_data, ".");
}

const AloneDamage* FindAlone(const DamageResult& result, const std::string& name) {
  for (const AloneDamage& alone : result.alone) {
    if (alone.name == name) {
      return &alone;
    }
  }
  return nullptr;
}

// The linear layers with the lowest ratio of signal to noise, worst first.
std::vector<const LinearDamage*> Worst(const DamageResult& result, size_t count) {
  std::vector<const LinearDamage*> linears;
  for (const LinearDamage& linear : result.linears) {
    if (linear.quantised) {
      linears.push_back(&linear);
    }
  }
  std::stable_sort(linears.begin(), linears.end(), [](const LinearDamage* a, const LinearDamage* b) {
    return a->error.SqnrDecibels() < b->error.SqnrDecibels();
  });
  linears.resize(std::min(linears.size(), count));
  return linears;
}

std::string AloneText(const AloneDamage& alone) {
  const auto& error = alone.change.standard_error;
  return Number("%+.3f %%", 100 * alone.change.relative) + (error.has_value() ? Number(" +- %.3f", 100 * *error) : "");
}

// Name, SQNR, cosine and, where linear layers were quantised alone, what that cost.
std::vector<std::vector<std::string>> LinearRows(const DamageResult& result) {
  std::vector<std::vector<std::string>> rows;
  const bool alone_known = std::any_of(result.linears.begin(), result.linears.end(), [&](const LinearDamage& linear) {
    return linear.name != "lm_head" && FindAlone(result, linear.name) != nullptr;
  });
  for (const LinearDamage& linear : result.linears) {
    const AloneDamage* alone = FindAlone(result, linear.name);
    rows.push_back({linear.name, linear.quantised ? Decibels(linear.error.SqnrDecibels()) : "float",
                    linear.quantised ? Number("%.6f", linear.error.Cosine()) : ""});
    if (alone_known) {
      rows.back().push_back(alone == nullptr ? "" : AloneText(*alone));
    }
  }
  return rows;
}

HeatMap SqnrMap(const DamageResult& result) {
  HeatMap map{.title = "Signal to quantisation noise of each output, dB",
              .row_title = "layer",
              .column_title = "linear layer",
              .columns = {std::begin(kRoles), std::end(kRoles)},
              .rows = {},
              .cells = {}};
  const size_t layers = result.linears.size() / kLayerLinears;
  for (size_t i = 0; i < layers * kLayerLinears; ++i) {
    if (i % kLayerLinears == 0) {
      map.rows.push_back(std::to_string(i / kLayerLinears));
      map.cells.emplace_back();
    }
    const LinearDamage& linear = result.linears[i];
    const double decibels = linear.error.SqnrDecibels();
    map.cells.back().push_back(linear.quantised
                                   ? HeatCell{.text = Decibels(decibels),
                                              .small = "",
                                              .tooltip = StrCat(linear.name, ": ", Decibels(decibels), " dB, cosine ",
                                                                Number("%.6f", linear.error.Cosine())),
                                              .level = SqnrLevel(decibels)}
                                   : HeatCell{.text = "float", .small = "", .tooltip = "", .level = -1});
  }
  return map;
}

}  // namespace

std::string DamageMarkdown(const DamageResult& result, const DamageFacts& facts) {
  std::string out = StrCat("# Where quantising hurts\n\n", FactsText(result, facts), "\n\n");
  if (!result.alone.empty()) {
    out += "## Perplexity when only this is quantised\n\n| layer | perplexity | change |\n|---|---|---|\n";
    for (const AloneDamage& alone : result.alone) {
      out += StrCat("| ", alone.name, " | ", Number("%.5f", alone.perplexity), " | ", AloneText(alone), " |\n");
    }
    out += "\n";
  }
  out +=
      "## Outputs of the linear layers\n\nWith the float model's own inputs.\n\n| layer | SQNR dB | cosine |\n"
      "|---|---|---|\n";
  for (const auto& row : LinearRows(result)) {
    out += StrCat("| ", row[0], " | ", row[1], " | ", row[2], " |\n");
  }
  out += "\nLowest first: ";
  std::string separator;
  for (const LinearDamage* linear : Worst(result, 5)) {
    out += StrCat(separator, linear->name, " (", Decibels(linear->error.SqnrDecibels()), " dB)");
    separator = ", ";
  }
  return out + ". `--skip NAME` leaves a layer in float.\n";
}

std::string DamageJson(const DamageResult& result, const DamageFacts& facts) {
  using Json = nlohmann::ordered_json;
  const auto change = [](const PerplexityChange& c) {
    return Json{{"relative", c.relative},
                {"standard_error", c.standard_error.has_value() ? Json(*c.standard_error) : Json()}};
  };
  Json linears = Json::array();
  for (const LinearDamage& linear : result.linears) {
    const double decibels = linear.error.SqnrDecibels();
    Json entry = {{"name", linear.name}, {"quantised", linear.quantised}};
    if (linear.quantised) {
      entry["sqnr_db"] = std::isfinite(decibels) ? Json(decibels) : Json();
      entry["cosine"] = linear.error.Cosine();
    }
    linears.push_back(std::move(entry));
  }
  Json alone = Json::array();
  for (const AloneDamage& one : result.alone) {
    alone.push_back({{"name", one.name}, {"perplexity", one.perplexity}, {"change", change(one.change)}});
  }
  const Json json = {{"model", facts.model},
                     {"scheme", facts.scheme},
                     {"data", facts.data},
                     {"tokens", result.tokens},
                     {"probe_data", facts.probe_data},
                     {"probe_rows", facts.probe_rows},
                     {"float_perplexity", result.float_perplexity},
                     {"quantised_perplexity", result.quantised_perplexity},
                     {"change", change(result.change)},
                     {"alone", std::move(alone)},
                     {"linears", std::move(linears)}};
  return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string DamageHtml(const DamageResult& result, const DamageFacts& facts) {
  std::string body;
  if (!result.alone.empty()) {
    std::vector<Bar> bars;
    for (const AloneDamage& alone : result.alone) {
      bars.push_back({.label = alone.name,
                      .value = alone.change.relative,
                      .error = alone.change.standard_error,
                      .text = AloneText(alone)});
    }
    body += HtmlHeading("What each costs alone") + BarsSvg("Change of perplexity when only this is quantised", bars) +
            HtmlParagraph(
                "Whiskers are one standard error of the change. A bar within its whisker of zero can't be told "
                "from noise on this data.");
  }
  body += HtmlHeading("Outputs of the linear layers") +
          HtmlParagraph(
              "Each with the float model's own input: what it adds itself, not what it inherits. Darker is "
              "noisier.") +
          HeatLegend("SQNR",
                     {"45 dB and more", "40 to 45", "35 to 40", "30 to 35", "25 to 30", "20 to 25", "below 20 dB"}) +
          HeatMapSvg(SqnrMap(result));
  const auto rows = LinearRows(result);
  std::vector<std::string> head = {"linear layer", "SQNR dB", "cosine"};
  if (rows.front().size() > head.size()) {
    head.emplace_back("change of perplexity alone");
  }
  body += HtmlHeading("All numbers") + HtmlTable(head, rows);
  return HtmlPage("Where quantising hurts", FactsText(result, facts), body);
}

}  // namespace phidias
