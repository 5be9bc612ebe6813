#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace phidias {

// Pieces of a self-contained HTML page: no scripts, nothing loaded from elsewhere, light and dark by the reader's
// setting. Plots are SVG. All text given here is escaped.

std::string HtmlEscape(std::string_view text);

// Colours of a heat map: level 0 (faint) to kHeatLevels - 1 (strong).
inline constexpr int kHeatLevels = 7;

struct HeatCell {
  std::string text;     // in the cell; "" leaves it blank
  std::string small;    // below it, smaller
  std::string tooltip;  // shown on hovering
  int level = -1;       // -1: no colour
};

struct HeatMap {
  std::string title;
  std::string row_title;
  std::string column_title;
  std::vector<std::string> columns;
  std::vector<std::string> rows;
  std::vector<std::vector<HeatCell>> cells;  // [rows][columns]
};
std::string HeatMapSvg(const HeatMap& map);

// What the levels mean, one label each.
std::string HeatLegend(std::string_view title, const std::vector<std::string>& labels);

struct Bar {
  std::string label;
  double value = 0;
  std::optional<double> error;  // one standard error, drawn as a whisker
  std::string text;             // the value as it is to be read
};
// Horizontal bars from a common zero, which lies inside if values are negative.
std::string BarsSvg(std::string_view title, const std::vector<Bar>& bars);

std::string HtmlTable(const std::vector<std::string>& head, const std::vector<std::vector<std::string>>& rows);
std::string HtmlParagraph(std::string_view text);
std::string HtmlHeading(std::string_view text);
// Parts beside each other where there is room.
std::string HtmlSideBySide(const std::vector<std::string>& parts);

// The page: `body` is made of the pieces above.
std::string HtmlPage(std::string_view title, std::string_view lead, std::string_view body);

}  // namespace phidias
