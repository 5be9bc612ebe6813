#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace phidias::cli {

// Plots beside those of quant/html_page.h, in its style.

struct PlotPoint {
  double x = 0;
  double y = 0;
  std::string tooltip;
  bool strong = false;  // stands out
};
struct PlotLine {
  std::vector<PlotPoint> points;
  std::string label;  // at its end
};
struct PlotAxis {
  std::string title;
  double low = 0;
  double high = 1;
  bool logarithmic = false;
};
struct Plot {
  std::string title;
  PlotAxis x;
  PlotAxis y;
  std::vector<PlotPoint> points;
  std::vector<PlotLine> lines;
};
std::string PlotSvg(const Plot& plot);

// What ran when: a bar a run, a row a lane.
struct TimelineBar {
  std::string lane;
  std::string label;
  double begin = 0;
  double end = 0;
};
std::string TimelineSvg(std::string_view title, std::string_view unit, const std::vector<TimelineBar>& bars);

}  // namespace phidias::cli
