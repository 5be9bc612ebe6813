#include "quant/html_page.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "common/str.h"

namespace phidias {
namespace {

// One blue in seven steps; in the dark the faint end is the one near the background. Text on each step has a contrast
// of at least 4.5.
constexpr const char* kStyle = R"(
:root { color-scheme: light dark; --bg: #fbfbfa; --ink: #1b1f24; --soft: #5c6570; --line: #dcdfe3; --bar: #2a66b0;
  --h0: #eef4fb; --h1: #d3e4f7; --h2: #abcdf0; --h3: #8ab6e8; --h4: #3370b8; --h5: #22559a; --h6: #123a72;
  --t0: #14233a; --t1: #14233a; --t2: #14233a; --t3: #14233a; --t4: #fff; --t5: #fff; --t6: #fff; }
@media (prefers-color-scheme: dark) {
  :root { --bg: #15181d; --ink: #e6e9ed; --soft: #9aa4b0; --line: #333a43; --bar: #5b95d6;
  --h0: #1c242f; --h1: #1e3350; --h2: #214a79; --h3: #2b63a1; --h4: #6aa1dd; --h5: #9cc3ed; --h6: #d6e6f8;
  --t0: #e6e9ed; --t1: #e6e9ed; --t2: #f2f5f8; --t3: #fff; --t4: #0c1420; --t5: #0c1420; --t6: #0c1420; } }
body { margin: 0 auto; max-width: 72rem; padding: 2rem 1.25rem 4rem; background: var(--bg); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 .5rem; } h2 { font-size: 1.1rem; margin: 2.5rem 0 .75rem; }
p { max-width: 46rem; margin: .5rem 0; } .scroll { margin-bottom: .75rem; } .lead { color: var(--soft); }
.beside { display: flex; flex-wrap: wrap; gap: 1.5rem 2.5rem; } .scroll { overflow-x: auto; max-width: 100%; }
svg { display: block; font-family: inherit; } svg text { fill: var(--ink); } svg .soft { fill: var(--soft); }
svg .axis { stroke: var(--line); } svg .bar { fill: var(--bar); } svg .whisker { stroke: var(--ink); }
svg .empty { fill: none; stroke: var(--line); }
svg .h0 { fill: var(--h0); } svg .h1 { fill: var(--h1); } svg .h2 { fill: var(--h2); } svg .h3 { fill: var(--h3); }
svg .h4 { fill: var(--h4); } svg .h5 { fill: var(--h5); } svg .h6 { fill: var(--h6); }
svg .t0 { fill: var(--t0); } svg .t1 { fill: var(--t1); } svg .t2 { fill: var(--t2); } svg .t3 { fill: var(--t3); }
svg .t4 { fill: var(--t4); } svg .t5 { fill: var(--t5); } svg .t6 { fill: var(--t6); }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .9rem .3rem 0; text-align: left; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { font-weight: 600; color: var(--soft); } td.number, th.number { text-align: right; }
)";

std::string Fixed(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f", value);
  return text;
}

std::string SvgText(double x, double y, std::string_view attributes, std::string_view text) {
  return StrCat("<text x=\"", Fixed(x), "\" y=\"", Fixed(y), "\" ", attributes, ">", HtmlEscape(text), "</text>\n");
}

std::string SvgOpen(double width, double height, std::string_view title) {
  return StrCat("<div class=\"scroll\"><svg role=\"img\" aria-label=\"", HtmlEscape(title), "\" width=\"", Fixed(width),
                "\" height=\"", Fixed(height), "\" viewBox=\"0 0 ", Fixed(width), " ", Fixed(height), "\">\n");
}

// Width that a label of 13 pixels takes, roughly: system fonts have about 7 pixels a character.
double LabelWidth(const std::vector<std::string>& labels) {
  size_t longest = 0;
  for (const std::string& label : labels) {
    longest = std::max(longest, label.size());
  }
  return 7.0 * static_cast<double>(longest) + 12;
}

std::string HeatCellSvg(const HeatCell& cell, double x, double y, double width, double height) {
  const std::string box = StrCat("x=\"", Fixed(x + 1), "\" y=\"", Fixed(y + 1), "\" width=\"", Fixed(width - 2),
                                 "\" height=\"", Fixed(height - 2), "\" rx=\"3\"");
  if (cell.level < 0) {
    return StrCat("<rect class=\"empty\" ", box, "/>\n",
                  SvgText(x + width / 2, y + height / 2 + 4, "class=\"soft\" font-size=\"13\" text-anchor=\"middle\"",
                          cell.text.empty() ? "-" : cell.text));
  }
  const int level = std::min(cell.level, kHeatLevels - 1);
  std::string out =
      StrCat("<g><title>", HtmlEscape(cell.tooltip), "</title><rect class=\"h", level, "\" ", box, "/>\n");
  const double middle = y + height / 2 + (cell.small.empty() ? 4.5 : -1.5);
  out +=
      SvgText(x + width / 2, middle,
              StrCat("class=\"t", level, "\" font-size=\"13\" font-weight=\"600\" text-anchor=\"middle\""), cell.text);
  if (!cell.small.empty()) {
    out += SvgText(x + width / 2, middle + 14, StrCat("class=\"t", level, "\" font-size=\"11\" text-anchor=\"middle\""),
                   cell.small);
  }
  return out + "</g>\n";
}

bool IsNumber(const std::string& text) {
  return !text.empty() && text.find_first_not_of("0123456789.+-eE% ") == std::string::npos &&
         text.find_first_of("0123456789") != std::string::npos;
}

}  // namespace

std::string HtmlEscape(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      default: out += c;
    }
  }
  return out;
}

std::string HeatMapSvg(const HeatMap& map) {
  constexpr double kHeight = 44;
  constexpr double kTop = 64;
  const double left = std::max(LabelWidth(map.rows), LabelWidth({map.row_title}));
  const double width = std::max(88.0, LabelWidth(map.columns));
  const double right = left + width * static_cast<double>(map.columns.size());
  std::string out = SvgOpen(std::max(right, left + LabelWidth({map.title})),
                            kTop + kHeight * static_cast<double>(map.rows.size()) + 4, map.title);
  out += SvgText(0, 16, "font-size=\"15\" font-weight=\"600\"", map.title);
  out += SvgText(left, 38, "class=\"soft\" font-size=\"12\"", map.column_title);
  out += SvgText(0, 57, "class=\"soft\" font-size=\"12\"", map.row_title);
  for (size_t c = 0; c < map.columns.size(); ++c) {
    out += SvgText(left + width * (static_cast<double>(c) + 0.5), 57, "font-size=\"13\" text-anchor=\"middle\"",
                   map.columns[c]);
  }
  for (size_t r = 0; r < map.rows.size(); ++r) {
    const double y = kTop + kHeight * static_cast<double>(r);
    out += SvgText(0, y + kHeight / 2 + 4.5, "font-size=\"13\"", map.rows[r]);
    for (size_t c = 0; c < map.columns.size(); ++c) {
      out += HeatCellSvg(map.cells[r][c], left + width * static_cast<double>(c), y, width, kHeight);
    }
  }
  return out + "</svg></div>\n";
}

std::string HeatLegend(std::string_view title, const std::vector<std::string>& labels) {
  double width = 0;
  std::string boxes;
  for (size_t i = 0; i < labels.size(); ++i) {
    boxes +=
        StrCat("<rect class=\"h", i, "\" x=\"", Fixed(width), "\" y=\"24\" width=\"16\" height=\"16\" rx=\"3\"/>\n");
    boxes += SvgText(width + 22, 37, "font-size=\"12\"", labels[i]);
    width += 22 + LabelWidth({labels[i]});
  }
  return SvgOpen(std::max(width, LabelWidth({std::string(title)})), 44, title) +
         SvgText(0, 14, "class=\"soft\" font-size=\"12\"", title) + boxes + "</svg></div>\n";
}

std::string BarsSvg(std::string_view title, const std::vector<Bar>& bars) {
  constexpr double kHeight = 24;
  constexpr double kTop = 30;
  constexpr double kSpan = 420;  // pixels from the smallest to the largest value
  double low = 0;
  double high = 0;
  std::vector<std::string> labels;
  std::vector<std::string> texts;
  for (const Bar& bar : bars) {
    const double reach = bar.error.value_or(0);
    low = std::min(low, bar.value - reach);
    high = std::max(high, bar.value + reach);
    labels.push_back(bar.label);
    texts.push_back(bar.text);
  }
  const double scale = high > low ? kSpan / (high - low) : 0;
  const double left = LabelWidth(labels);
  const auto x = [&](double value) { return left + (value - low) * scale; };
  std::string out =
      SvgOpen(left + kSpan + LabelWidth(texts) + 8, kTop + kHeight * static_cast<double>(bars.size()) + 4, title) +
      SvgText(0, 16, "font-size=\"15\" font-weight=\"600\"", title);
  for (size_t i = 0; i < bars.size(); ++i) {
    const Bar& bar = bars[i];
    const double y = kTop + kHeight * static_cast<double>(i);
    out += SvgText(0, y + 16, "font-size=\"13\"", bar.label);
    out += StrCat("<rect class=\"bar\" x=\"", Fixed(std::min(x(bar.value), x(0))), "\" y=\"", Fixed(y + 4),
                  "\" width=\"", Fixed(std::max(1.0, std::fabs(x(bar.value) - x(0)))), "\" height=\"16\" rx=\"2\"/>\n");
    if (bar.error.has_value()) {
      out += StrCat("<line class=\"whisker\" x1=\"", Fixed(x(bar.value - *bar.error)), "\" x2=\"",
                    Fixed(x(bar.value + *bar.error)), "\" y1=\"", Fixed(y + 12), "\" y2=\"", Fixed(y + 12), "\"/>\n");
    }
    out += SvgText(x(std::max(0.0, bar.value + bar.error.value_or(0))) + 8, y + 16, "font-size=\"12\"", bar.text);
  }
  out += StrCat("<line class=\"axis\" x1=\"", Fixed(x(0)), "\" x2=\"", Fixed(x(0)), "\" y1=\"", Fixed(kTop), "\" y2=\"",
                Fixed(kTop + kHeight * static_cast<double>(bars.size())), "\"/>\n");
  return out + "</svg></div>\n";
}

std::string HtmlTable(const std::vector<std::string>& head, const std::vector<std::vector<std::string>>& rows) {
  std::string out = "<div class=\"scroll\"><table>\n<thead><tr>";
  for (size_t c = 0; c < head.size(); ++c) {
    const bool number = !rows.empty() && c < rows[0].size() && IsNumber(rows[0][c]);
    out += StrCat(number ? "<th class=\"number\">" : "<th>", HtmlEscape(head[c]), "</th>");
  }
  out += "</tr></thead>\n<tbody>\n";
  for (const auto& row : rows) {
    out += "<tr>";
    for (const std::string& text : row) {
      out += StrCat(IsNumber(text) ? "<td class=\"number\">" : "<td>", HtmlEscape(text), "</td>");
    }
    out += "</tr>\n";
  }
  return out + "</tbody></table></div>\n";
}

std::string HtmlParagraph(std::string_view text) {
  return StrCat("<p>", HtmlEscape(text), "</p>\n");
}

std::string HtmlHeading(std::string_view text) {
  return StrCat("<h2>", HtmlEscape(text), "</h2>\n");
}

std::string HtmlSideBySide(const std::vector<std::string>& parts) {
  std::string out = "<div class=\"beside\">\n";
  for (const std::string& part : parts) {
    out += part;
  }
  return out + "</div>\n";
}

std::string HtmlPage(std::string_view title, std::string_view lead, std::string_view body) {
  return StrCat(
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>",
      HtmlEscape(title), "</title>\n<style>", kStyle, "</style>\n</head>\n<body>\n<h1>", HtmlEscape(title),
      "</h1>\n<p class=\"lead\">", HtmlEscape(lead), "</p>\n", body, "</body>\n</html>\n");
}

}  // namespace phidias
