// phidias explore: every tiled design of a space, what fits a card, and the best of it.

#include <algorithm>
#include <cstdio>

#include "cli/exit_code.h"
#include "cli/flags.h"
#include "cli/json.h"
#include "cli/output.h"
#include "cli/plot_svg.h"
#include "cli/shape_option.h"
#include "cli/verbs.h"
#include "common/file.h"
#include "engine/token_schedule.h"
#include "model/phi.h"
#include "quant/html_page.h"
#include "sim/explore.h"
#include "sim/report_token.h"
#include "sim/tiled_design.h"

namespace phidias::cli {
namespace {

constexpr const char* kUsage = "phidias explore [OPTIONS] --shape SHAPE";
constexpr const char* kExamples =
    "Modelled in closed form (phidias simulate has the events). The front: designs that no other one beats in decode,\n"
    "prefill, tokens/J, DSP, BRAM and precision at once.\n"
    "\n"
    "Examples:\n"
    "  phidias explore --shape phi-2\n"
    "  phidias explore --shape phi-2 --card u55c --html explore.html\n";

struct ExploreFlags {
  std::optional<std::string> shape;
  std::optional<std::string> html;
  std::string card = "u280";
  int64_t context = 512;
  std::vector<std::string> set;
  bool json = false;
};

using Candidates = std::vector<sim::Candidate>;

// Those of the front, fastest first.
Candidates Front(const Candidates& all) {
  Candidates front;
  std::copy_if(all.begin(), all.end(), std::back_inserter(front), [](const auto& c) { return c.on_front; });
  std::stable_sort(front.begin(), front.end(), [](const auto& a, const auto& b) { return a.decode > b.decode; });
  return front;
}

template <class... Values>
std::string Line(const char* format, Values... values) {
  char line[256];
  std::snprintf(line, sizeof line, format, values...);
  return line;
}

std::string FrontText(const Candidates& all) {
  const auto fit = std::count_if(all.begin(), all.end(), [](const auto& c) { return c.refused.empty(); });
  std::string out = Line("%zu designs, %td fit; the front, modelled:\n\n", all.size(), fit);
  out += Line("%-76s %9s %9s %9s %7s %7s  %s\n", "", "decode", "prefill", "tokens/J", "DSP", "BRAM", "tightest");
  for (const sim::Candidate& c : Front(all)) {
    out += Line("%-76s %9.1f %9.1f %9.3f %7.0f %7.0f  %s %.0f %%\n", sim::DesignText(c.design).c_str(), c.decode,
                c.prefill, c.energy.tokens_per_joule, c.resources.total.dsp, c.resources.total.bram36,
                c.resources.tightest.c_str(), 100 * c.resources.tightest_share);
  }
  return out;
}

Json ExploreJson(const Candidates& all) {
  Json designs = Json::array();
  for (const sim::Candidate& c : all) {
    Json json = {{"tiles", c.design.tiles},
                 {"token_lanes", c.design.token_lanes},
                 {"attention_lanes", c.design.attention_lanes},
                 {"mhz", c.design.mhz},
                 {"weight_bits", c.design.weight_bits},
                 {"kv_bits", c.design.kv_bits},
                 {"lm_head_bits", c.design.lm_head_bits},
                 {"port_bits", c.design.port_bits}};
    if (!c.refused.empty()) {
      json["refused"] = c.refused;
    } else {
      json["decode_tokens_per_second"] = c.decode;
      json["prefill_tokens_per_second"] = c.prefill;
      json["tokens_per_joule"] = c.energy.tokens_per_joule;
      json["dsp"] = c.resources.total.dsp;
      json["bram36"] = c.resources.total.bram36;
      json["on_front"] = c.on_front;
    }
    designs.push_back(std::move(json));
  }
  return {{"basis", "modelled"}, {"designs", designs}};
}

double MostOf(const Candidates& all, double (*figure)(const sim::Candidate&)) {
  double most = 0;
  for (const sim::Candidate& c : all) {
    most = std::max(most, c.refused.empty() ? figure(c) : 0);
  }
  return most * 1.1;
}

std::string ParetoPlot(const Candidates& all, const char* title, const char* axis,
                       double (*figure)(const sim::Candidate&)) {
  Plot plot;
  plot.title = title;
  plot.x = {axis, 0, std::max(1e-9, MostOf(all, figure)), false};
  plot.y = {"decode, tokens/s", 0, std::max(1.0, MostOf(all, [](const sim::Candidate& c) { return c.decode; })), false};
  for (const bool strong : {false, true}) {
    for (const sim::Candidate& c : all) {
      if (c.refused.empty() && c.on_front == strong) {
        plot.points.push_back({figure(c), c.decode, sim::DesignText(c.design), strong});
      }
    }
  }
  return PlotSvg(plot);
}

// Products a byte against products a second: the roof is the memory's slope and the arrays' height.
std::string RooflinePlot(const Candidates& all, double peak_gbs) {
  Plot plot;
  plot.title = "Roofline of the front";
  plot.x = {"products a byte from HBM", 0.25, 16, true};
  plot.y = {"10^9 products a second", 20, 20000, true};
  const double slope_end = 16;
  plot.lines.push_back({{{0.25, 0.25 * peak_gbs, "", false}, {slope_end, slope_end * peak_gbs, "", false}},
                        Line("%.0f GB/s", peak_gbs)});
  for (const sim::Candidate& c : Front(all)) {
    const double gops = c.hbm_gbs * c.products_per_byte;
    plot.points.push_back({c.products_per_byte, gops, StrCat(sim::DesignText(c.design), ": decode"), true});
    // Of a prompt, lm_head's share aside: as many products a byte as tokens share it.
    const double tokens = c.design.token_lanes * c.products_per_byte;
    plot.points.push_back({tokens, c.prefill / c.decode * gops, StrCat(sim::DesignText(c.design), ": prefill"), false});
  }
  return PlotSvg(plot);
}

// One layer's runs, and what the banks do.
std::string TimingParts(const std::string& design, const sim::TokenTiming& timing) {
  std::vector<TimelineBar> bars;
  double begin = timing.seconds;
  for (const sim::RunTiming& run : timing.runs) {
    begin = std::min(begin, run.begin);
  }
  for (const sim::RunTiming& run : timing.runs) {
    bars.push_back({run.unit, run.what, (run.begin - begin) * 1e3, (run.end - begin) * 1e3});
  }
  std::vector<Bar> banks;
  for (const sim::BankTiming& bank : timing.banks) {
    if (bank.bytes > 0) {
      banks.push_back({bank.bank, 100 * bank.utilisation, std::nullopt, Line("%.2f %%", 100 * bank.utilisation)});
    }
  }
  return TimelineSvg(StrCat(design, ": one layer"), "ms", bars) +
         BarsSvg(StrCat(design, ": how much of each bank's time data moves"), banks);
}

Result<std::string> ReportParts(const PhiConfig& config, const ExploreFlags& flags, const sim::Parameters& parameters) {
  ASSIGN_OR_RETURN(const fpga::TokenSchedule token, RecordTokenSchedule(config, fpga::ScheduleOrder::kParallel, {}));
  ASSIGN_OR_RETURN(const hls::DesignPoint* const design, fpga::FindDesign("report"));
  ASSIGN_OR_RETURN(const fpga::HbmPlacement placement, fpga::PlanPlacement(ShapeOf(config), *design, {}));
  ASSIGN_OR_RETURN(sim::ReportSimulator simulator, sim::ReportSimulator::Create(token, placement, parameters));
  ASSIGN_OR_RETURN(const sim::TokenTiming timing, simulator.Run({.position = flags.context}));
  return TimingParts("The report's design", timing);
}

// The front's fastest design, by events.
Result<std::string> TiledParts(const Candidates& all, const PhiConfig& config, const ExploreFlags& flags,
                               const sim::Parameters& parameters) {
  const Candidates front = Front(all);
  if (front.empty()) {
    return std::string();
  }
  ASSIGN_OR_RETURN(const sim::TokenTiming timing,
                   sim::TimeTiledPass(front[0].design, ShapeOf(config), {.position = flags.context}, true, parameters));
  return HtmlHeading("The fastest of the front, by events") + TimingParts(sim::DesignText(front[0].design), timing);
}

Result<std::string> Page(const Candidates& all, const PhiConfig& config, const ExploreFlags& flags,
                         const fpga::Card& card, const sim::Parameters& parameters) {
  std::vector<std::vector<std::string>> rows;
  for (const sim::Candidate& c : Front(all)) {
    rows.push_back({sim::DesignText(c.design), Line("%.1f", c.decode), Line("%.1f", c.prefill),
                    Line("%.3f", c.energy.tokens_per_joule), Line("%.0f", c.energy.board_watts),
                    Line("%.0f", c.resources.total.dsp), Line("%.0f", c.resources.total.bram36),
                    Line("%s, %.0f %%", c.resources.tightest.c_str(), 100 * c.resources.tightest_share)});
  }
  const double peak = parameters.hbm_peak_gbs * fpga::FindMemory(card, "HBM")->banks;
  ASSIGN_OR_RETURN(const std::string report, ReportParts(config, flags, parameters));
  ASSIGN_OR_RETURN(const std::string fastest, TiledParts(all, config, flags, parameters));
  const std::string body =
      HtmlHeading("The front") +
      HtmlTable({"design", "decode/s", "prefill/s", "tokens/J", "board W", "DSP", "BRAM", "tightest"}, rows) +
      HtmlHeading("What speed costs") +
      HtmlSideBySide(
          {ParetoPlot(all, "Decode and energy", "tokens/J, board",
                      [](const sim::Candidate& c) { return c.energy.tokens_per_joule; }),
           ParetoPlot(all, "Decode and DSP", "DSP", [](const sim::Candidate& c) { return c.resources.total.dsp; })}) +
      HtmlSideBySide({RooflinePlot(all, peak), ParetoPlot(all, "Decode and prefill", "prefill, tokens/s",
                                                          [](const sim::Candidate& c) { return c.prefill; })}) +
      fastest + HtmlHeading("The design to beat") + report;
  return HtmlPage(StrCat("Tiled designs on a ", card.name),
                  StrCat("Context ", flags.context,
                         ". Everything here is modelled; nothing was run on a card. Large "
                         "dots are the front."),
                  body);
}

Status ExploreDesigns(const ExploreFlags& flags) {
  if (!flags.shape.has_value()) {
    return InvalidArgument("--shape is missing: ", "phi-2, phi-1.5, phi-1, or a config.json");
  }
  sim::Parameters parameters = sim::ParametersOf(*fpga::FindCard(flags.card));
  for (const std::string& assignment : flags.set) {
    RETURN_IF_ERROR(sim::SetParameter(assignment, &parameters));
  }
  ASSIGN_OR_RETURN(const Shape shape, ReadShape(*flags.shape));
  const fpga::Card& card = *fpga::FindCard(flags.card);
  if (flags.context >= shape.config.max_position_embeddings) {
    return InvalidArgument("--context ", flags.context, ": at most ", shape.config.max_position_embeddings - 1);
  }
  const Candidates all = sim::Explore({}, ShapeOf(shape.config), flags.context, card, parameters);
  if (flags.html.has_value()) {
    ASSIGN_OR_RETURN(const std::string page, Page(all, shape.config, flags, card, parameters));
    RETURN_IF_ERROR(WriteFile(*flags.html, page));
  }
  return WriteStdout(flags.json ? JsonLine(ExploreJson(all), 2) : FrontText(all));
}

}  // namespace

int ExploreVerb(std::span<const std::string> arguments) {
  CLI::App app("Which tiled designs fit a card, and which of them are best: modelled.", "phidias explore");
  ExploreFlags flags;
  AddText(app, "--shape", &flags.shape, kShapeHelp);
  app.add_option("--card", flags.card, "u280 (default) or u55c")
      ->type_name("CARD")
      ->check(CLI::IsMember({"u280", "u55c"}));
  AddInteger(app, "--context", &flags.context, 0, 1 << 20, nullptr, "positions before the token (512)");
  AddRepeated(
      app, "--set", "NAME=VALUE", "a parameter of the model (phidias simulate --parameters)",
      [&flags] { flags.set.clear(); },
      [&flags](const std::string& text) -> Status {
        flags.set.push_back(text);
        return {};
      });
  AddText(app, "--html", &flags.html, "a page with plots, for a browser; works offline")->type_name("FILE");
  app.add_flag("--json", flags.json, "every design as JSON");
  SetHelp(app, kUsage, kExamples);
  if (const auto code = ParseArguments(app, "explore", arguments)) {
    return *code;
  }
  const Status status = ExploreDesigns(flags);
  return status.ok() ? kExitOk : Fail("explore", status);
}

}  // namespace phidias::cli
