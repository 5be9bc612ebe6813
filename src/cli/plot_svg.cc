#include "cli/plot_svg.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "common/str.h"
#include "quant/html_page.h"

namespace phidias::cli {
namespace {

constexpr double kLeft = 64;
constexpr double kTop = 34;
constexpr double kWidth = 520;
constexpr double kHeight = 300;
constexpr int kTicks = 5;

std::string Fixed(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f", value);
  return text;
}

std::string Tick(double value) {
  char text[32];
  std::snprintf(text, sizeof text, value >= 1000 ? "%.0f" : "%.3g", value);
  return text;
}

std::string Text(double x, double y, std::string_view attributes, std::string_view text) {
  return StrCat("<text x=\"", Fixed(x), "\" y=\"", Fixed(y), "\" ", attributes, ">", HtmlEscape(text), "</text>\n");
}

std::string LineSvg(double x1, double y1, double x2, double y2, std::string_view style) {
  return StrCat("<line ", style, " x1=\"", Fixed(x1), "\" y1=\"", Fixed(y1), "\" x2=\"", Fixed(x2), "\" y2=\"",
                Fixed(y2), "\"/>\n");
}

std::string Open(double width, double height, std::string_view title) {
  return StrCat("<div class=\"scroll\"><svg role=\"img\" aria-label=\"", HtmlEscape(title), "\" width=\"", Fixed(width),
                "\" height=\"", Fixed(height), "\" viewBox=\"0 0 ", Fixed(width), " ", Fixed(height), "\">\n",
                Text(0, 16, "font-size=\"15\" font-weight=\"600\"", title));
}

// 0 at the axis's low end, 1 at its high one.
double Along(const PlotAxis& axis, double value) {
  if (axis.logarithmic) {
    return std::log(value / axis.low) / std::log(axis.high / axis.low);
  }
  return (value - axis.low) / (axis.high - axis.low);
}
double ValueAt(const PlotAxis& axis, double along) {
  return axis.logarithmic ? axis.low * std::pow(axis.high / axis.low, along)
                          : axis.low + along * (axis.high - axis.low);
}

}  // namespace

std::string PlotSvg(const Plot& plot) {
  const auto x = [&plot](double value) { return kLeft + kWidth * Along(plot.x, value); };
  const auto y = [&plot](double value) { return kTop + kHeight * (1 - Along(plot.y, value)); };
  std::string out = Open(kLeft + kWidth + 110, kTop + kHeight + 48, plot.title);
  for (int i = 0; i <= kTicks; ++i) {
    const double along = static_cast<double>(i) / kTicks;
    const double at_x = ValueAt(plot.x, along);
    const double at_y = ValueAt(plot.y, along);
    out += LineSvg(x(at_x), kTop, x(at_x), kTop + kHeight, "class=\"axis\"");
    out += LineSvg(kLeft, y(at_y), kLeft + kWidth, y(at_y), "class=\"axis\"");
    out += Text(x(at_x), kTop + kHeight + 17, "class=\"soft\" font-size=\"12\" text-anchor=\"middle\"", Tick(at_x));
    out += Text(kLeft - 8, y(at_y) + 4, "class=\"soft\" font-size=\"12\" text-anchor=\"end\"", Tick(at_y));
  }
  out += Text(kLeft + kWidth / 2, kTop + kHeight + 38, "font-size=\"13\" text-anchor=\"middle\"", plot.x.title);
  out += Text(kLeft + 4, kTop + 14, "font-size=\"13\"", plot.y.title);
  for (const PlotLine& line : plot.lines) {
    for (size_t i = 1; i < line.points.size(); ++i) {
      out += LineSvg(x(line.points[i - 1].x), y(line.points[i - 1].y), x(line.points[i].x), y(line.points[i].y),
                     "class=\"whisker\"");
    }
    out += Text(x(line.points.back().x) + 6, y(line.points.back().y) + 4, "font-size=\"12\"", line.label);
  }
  for (const PlotPoint& point : plot.points) {
    out += StrCat("<circle class=\"", point.strong ? "bar" : "h2", "\" cx=\"", Fixed(x(point.x)), "\" cy=\"",
                  Fixed(y(point.y)), "\" r=\"", point.strong ? 5 : 3, "\"><title>", HtmlEscape(point.tooltip),
                  "</title></circle>\n");
  }
  return out + "</svg></div>\n";
}

std::string TimelineSvg(std::string_view title, std::string_view unit, const std::vector<TimelineBar>& bars) {
  constexpr double kRow = 24;
  std::vector<std::string> lanes;
  double end = 0;
  for (const TimelineBar& bar : bars) {
    if (std::find(lanes.begin(), lanes.end(), bar.lane) == lanes.end()) {
      lanes.push_back(bar.lane);
    }
    end = std::max(end, bar.end);
  }
  const double scale = end > 0 ? kWidth / end : 0;
  const double left = 90;
  const double bottom = kTop + kRow * static_cast<double>(lanes.size());
  std::string out = Open(left + kWidth + 40, bottom + 26, title);
  for (int i = 0; i <= kTicks; ++i) {
    const double at = end * i / kTicks;
    out += LineSvg(left + at * scale, kTop, left + at * scale, bottom, "class=\"axis\"");
    out += Text(left + at * scale, bottom + 17, "class=\"soft\" font-size=\"12\" text-anchor=\"middle\"",
                StrCat(Tick(at), i == kTicks ? StrCat(" ", unit) : ""));
  }
  for (size_t i = 0; i < lanes.size(); ++i) {
    out += Text(0, kTop + kRow * static_cast<double>(i) + 16, "font-size=\"13\"", lanes[i]);
  }
  for (const TimelineBar& bar : bars) {
    const auto lane = std::find(lanes.begin(), lanes.end(), bar.lane) - lanes.begin();
    out += StrCat("<rect class=\"bar\" x=\"", Fixed(left + bar.begin * scale), "\" y=\"",
                  Fixed(kTop + kRow * static_cast<double>(lane) + 4), "\" width=\"",
                  Fixed(std::max(1.0, (bar.end - bar.begin) * scale)), "\" height=\"16\" rx=\"2\"><title>",
                  HtmlEscape(StrCat(bar.label, ": ", Tick(bar.begin), " to ", Tick(bar.end), " ", unit)),
                  "</title></rect>\n");
  }
  return out + "</svg></div>\n";
}

}  // namespace phidias::cli
