#include "quant/sweep_report.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "quant/html_page.h"

namespace phidias {
namespace {

constexpr RangeKind kWeightRows[] = {RangeKind::kNone, RangeKind::kSymmetric, RangeKind::kAsymmetric,
                                     RangeKind::kPercentile, RangeKind::kMse};
constexpr RangeKind kActivationColumns[] = {RangeKind::kNone,       RangeKind::kSymmetric, RangeKind::kAsymmetric,
                                            RangeKind::kPercentile, RangeKind::kMse,       RangeKind::kDynamic};

// The source report's table 4: perplexity of Phi-2 on its 512 test samples, weight schemes by activation schemes (none,
// symmetric, asymmetric, percentile 99.9); 0 where it has none.
constexpr double kReport[4][4] = {
    {3.32, 3.35, 3.81, 3.81}, {0, 16.7, 17.1, 16.7}, {0, 3.53, 5.73, 5.73}, {0, 3.77, 6.21, 6.78}};

std::string Number(const char* format, double value) {
  char text[48];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

// Four significant digits and no exponent, so that columns of perplexities read well.
std::string PerplexityText(double value) {
  return value < 10 ? Number("%.3f", value) : value < 1000 ? Number("%.2f", value) : Number("%.0f", value);
}

const SweepCell* Find(const std::vector<SweepCell>& cells, RangeKind weights, Granularity granularity,
                      RangeKind activations) {
  for (const SweepCell& cell : cells) {
    const SweepScheme& scheme = cell.scheme;
    if (scheme.weights == weights && scheme.activations == activations &&
        (weights == RangeKind::kNone || scheme.granularity == granularity)) {
      return &cell;
    }
  }
  return nullptr;
}

// One of the grids that the cells make: the rows and columns that occur.
struct Grid {
  Granularity granularity;
  std::vector<RangeKind> weights;
  std::vector<RangeKind> activations;
};

std::vector<Grid> GridsOf(const std::vector<SweepCell>& cells) {
  const auto has = [&](auto matches) { return std::any_of(cells.begin(), cells.end(), matches); };
  std::vector<Grid> grids;
  for (const Granularity granularity : {Granularity::kTensor, Granularity::kChannel}) {
    Grid grid{.granularity = granularity, .weights = {}, .activations = {}};
    const auto belongs = [&](const SweepScheme& scheme) {
      return scheme.weights == RangeKind::kNone || scheme.granularity == granularity;
    };
    for (const RangeKind kind : kWeightRows) {
      if (has([&](const SweepCell& c) { return belongs(c.scheme) && c.scheme.weights == kind; })) {
        grid.weights.push_back(kind);
      }
    }
    for (const RangeKind kind : kActivationColumns) {
      if (has([&](const SweepCell& c) { return belongs(c.scheme) && c.scheme.activations == kind; })) {
        grid.activations.push_back(kind);
      }
    }
    // Float weights alone belong to the other table as well.
    if (grid.weights.size() > 1 || (granularity == Granularity::kChannel && grids.empty())) {
      grids.push_back(std::move(grid));
    }
  }
  return grids;
}

// The change, or that this is what the others are compared with.
std::string CellChange(const SweepCell& cell) {
  return cell.scheme == SweepScheme{} ? "float" : ChangeText(cell.change.relative);
}

std::string FactsText(const SweepFacts& facts) {
  return StrCat("Perplexity of ", facts.model, " on ", facts.rows, " rows (", facts.tokens, " predicted tokens) of ",
                facts.data, "; static ranges from ", facts.calibration_rows, " rows of ", facts.calibration,
                "; percentile ", facts.percentile, ".");
}

std::string MarkdownGrid(const std::vector<SweepCell>& cells, const Grid& grid) {
  std::string out = StrCat("## Weights per ", GranularityName(grid.granularity), "\n\n| weight \\ activation");
  std::string rule = "|---";
  for (const RangeKind activations : grid.activations) {
    out += StrCat(" | ", RangeKindName(activations));
    rule += "|---";
  }
  out += " |\n" + rule + "|\n";
  for (const RangeKind weights : grid.weights) {
    out += StrCat("| ", RangeKindName(weights));
    for (const RangeKind activations : grid.activations) {
      const SweepCell* cell = Find(cells, weights, grid.granularity, activations);
      out += cell == nullptr ? " | -" : StrCat(" | ", PerplexityText(cell->perplexity), " (", CellChange(*cell), ")");
    }
    out += " |\n";
  }
  return out + "\n";
}

std::string ReportMarkdown() {
  std::string out =
      "## The source report's table 4, for comparison\n\nPhi-2 on 512 rows of ultrachat_200k. Another model and other "
      "data: what compares is the change against float (in brackets).\n\n"
      "| weight \\ activation | none | symmetric | asymmetric | percentile 99.9 |\n|---|---|---|---|---|\n";
  for (size_t r = 0; r < 4; ++r) {
    out += StrCat("| ", RangeKindName(kWeightRows[r]));
    for (const double value : kReport[r]) {
      const bool plain = r == 0 && value == kReport[0][0];
      out += value == 0 ? " | -"
                        : StrCat(" | ", value, " (", plain ? "float" : ChangeText(value / kReport[0][0] - 1), ")");
    }
    out += " |\n";
  }
  return out;
}

HeatMap OurMap(const std::vector<SweepCell>& cells, const Grid& grid) {
  HeatMap map{.title = StrCat("Weights per ", GranularityName(grid.granularity)),
              .row_title = "weights",
              .column_title = "activations",
              .columns = {},
              .rows = {},
              .cells = {}};
  for (const RangeKind activations : grid.activations) {
    map.columns.emplace_back(RangeKindName(activations));
  }
  for (const RangeKind weights : grid.weights) {
    map.rows.emplace_back(RangeKindName(weights));
    map.cells.emplace_back();
    for (const RangeKind activations : grid.activations) {
      const SweepCell* cell = Find(cells, weights, grid.granularity, activations);
      if (cell == nullptr) {
        map.cells.back().emplace_back();
        continue;
      }
      const std::string error = cell->change.standard_error.has_value()
                                    ? StrCat(" +- ", Number("%.2f", 100 * *cell->change.standard_error))
                                    : "";
      map.cells.back().push_back(
          {.text = PerplexityText(cell->perplexity),
           .small = CellChange(*cell),
           .tooltip = StrCat(DescribeSweepScheme(cell->scheme), ": perplexity ", Number("%.5f", cell->perplexity),
                             ", change ", ChangeText(cell->change.relative), error),
           .level = ChangeLevel(cell->change.relative)});
    }
  }
  return map;
}

HeatMap ReportMap() {
  HeatMap map{.title = "The source report's Phi-2 (table 4)",
              .row_title = "weights",
              .column_title = "activations",
              .columns = {},
              .rows = {},
              .cells = {}};
  for (size_t i = 0; i < 4; ++i) {
    map.columns.emplace_back(RangeKindName(kActivationColumns[i]));
    map.rows.emplace_back(RangeKindName(kWeightRows[i]));
    map.cells.emplace_back();
    for (const double value : kReport[i]) {
      const double change = value / kReport[0][0] - 1;
      map.cells.back().push_back(
          value == 0 ? HeatCell()
                     : HeatCell{.text = StrCat(value),
                                .small = i == 0 && value == kReport[0][0] ? "float" : ChangeText(change),
                                .tooltip = StrCat("change ", ChangeText(change)),
                                .level = ChangeLevel(change)});
    }
  }
  return map;
}

std::string CellsTable(const std::vector<SweepCell>& cells) {
  std::vector<std::vector<std::string>> rows;
  for (const SweepCell& cell : cells) {
    const bool none = cell.scheme.weights == RangeKind::kNone;
    const auto& error = cell.change.standard_error;
    rows.push_back({std::string(RangeKindName(cell.scheme.weights)),
                    none ? "" : std::string(GranularityName(cell.scheme.granularity)),
                    std::string(RangeKindName(cell.scheme.activations)), Number("%.5f", cell.perplexity),
                    Number("%+.3f %%", 100 * cell.change.relative),
                    error.has_value() ? Number("%.3f %%", 100 * *error) : "", Number("%.1f", cell.seconds)});
  }
  return HtmlTable({"weights", "per", "activations", "perplexity", "change", "its standard error", "seconds"}, rows);
}

}  // namespace

std::string ChangeText(double relative) {
  const double percent = 100 * relative;
  if (!std::isfinite(percent)) {
    return "beyond measure";
  }
  if (std::fabs(percent) < 0.005) {
    return "0.00 %";
  }
  return Number(std::fabs(percent) < 10 ? "%+.2f %%" : std::fabs(percent) < 100 ? "%+.1f %%" : "%+.0f %%", percent);
}

int ChangeLevel(double relative) {
  constexpr double kBounds[kHeatLevels - 1] = {0.001, 0.003, 0.01, 0.03, 0.1, 0.3};
  int level = 0;
  // A change that isn't a number is the worst, not the best.
  while (level < kHeatLevels - 1 && !(relative < kBounds[level])) {
    ++level;
  }
  return level;
}

const std::vector<std::string>& ChangeLevelLabels() {
  static const std::vector<std::string> kLabels = {"below 0.1 %", "0.1 to 0.3 %", "0.3 to 1 %",   "1 to 3 %",
                                                   "3 to 10 %",   "10 to 30 %",   "30 % and more"};
  return kLabels;
}

std::string SweepMarkdown(const std::vector<SweepCell>& cells, const SweepFacts& facts) {
  std::string out = StrCat("# Quantisation sweep\n\n", FactsText(facts),
                           "\nIn brackets: the change against the float model on the same rows.\n\n");
  for (const Grid& grid : GridsOf(cells)) {
    out += MarkdownGrid(cells, grid);
  }
  return out + ReportMarkdown();
}

std::string SweepCsv(const std::vector<SweepCell>& cells) {
  std::string out =
      "weights,granularity,activations,perplexity,standard_error,change,change_standard_error,nll,tokens,seconds\n";
  const auto optional = [](const std::optional<double>& value) {
    return value.has_value() ? Number("%.9g", *value) : std::string();
  };
  for (const SweepCell& cell : cells) {
    const bool none = cell.scheme.weights == RangeKind::kNone;
    out += StrCat(RangeKindName(cell.scheme.weights), ",", none ? "" : GranularityName(cell.scheme.granularity), ",",
                  RangeKindName(cell.scheme.activations), ",", Number("%.10g", cell.perplexity), ",",
                  optional(cell.standard_error), ",", Number("%.9g", cell.change.relative), ",",
                  optional(cell.change.standard_error), ",", Number("%.17g", cell.nll), ",", cell.tokens, ",",
                  Number("%.3f", cell.seconds), "\n");
  }
  return out;
}

std::string SweepHtml(const std::vector<SweepCell>& cells, const SweepFacts& facts) {
  std::vector<std::string> maps;
  for (const Grid& grid : GridsOf(cells)) {
    maps.push_back(HeatMapSvg(OurMap(cells, grid)));
  }
  maps.push_back(HeatMapSvg(ReportMap()));
  std::string body = HtmlHeading("Perplexity, and its change against the float model") +
                     HeatLegend("change of perplexity", ChangeLevelLabels()) + "<br>\n" + HtmlSideBySide(maps);
  body += HtmlParagraph(
      "The source report's table is of another model on other data: what compares is the change, not the perplexity.");
  body += HtmlHeading("All numbers") + CellsTable(cells);
  body += HtmlParagraph(
      "The standard error of a change is that of the difference on the same rows; it is far smaller than that of "
      "either "
      "perplexity.");
  return HtmlPage("Quantisation sweep", FactsText(facts), body);
}

}  // namespace phidias
