#pragma once

#include <string>
#include <vector>

#include "quant/sweep.h"

namespace phidias {

// What a sweep's pages say about where its numbers come from.
struct SweepFacts {
  std::string model;
  std::string data;
  std::string calibration;
  int64_t rows = 0;
  int64_t tokens = 0;
  int64_t calibration_rows = 0;
  double percentile = 99.9;
};

// All take finished cells in any order; cells that aren't there are left blank. The report's own table stands beside
// ours for comparison: another model (Phi-2) on other data, so what compares is the relative change.
std::string SweepMarkdown(const std::vector<SweepCell>& cells, const SweepFacts& facts);
std::string SweepCsv(const std::vector<SweepCell>& cells);
std::string SweepHtml(const std::vector<SweepCell>& cells, const SweepFacts& facts);

// A relative change as people read it: "+0.17 %", "+402 %".
std::string ChangeText(double relative);
// Its colour on the pages' heat maps, and what the colours mean.
int ChangeLevel(double relative);
const std::vector<std::string>& ChangeLevelLabels();

}  // namespace phidias
