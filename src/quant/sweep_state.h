#pragma once

#include <string>
#include <vector>

#include "common/status.h"
#include "quant/sweep.h"

namespace phidias {

// A sweep under way: its finished cells, and the float model's rows, which the other cells are compared with.
struct SweepState {
  std::vector<SweepCell> cells;
  std::vector<RowScore> float_rows;
};

// JSON, which is also a finished sweep's result for programs to read.
std::string SweepStateText(const std::string& fingerprint, const SweepState& state);

// Errors name `path`: not such a file, another fingerprint.
Result<SweepState> ParseSweepState(const std::string& text, const std::string& path, const std::string& fingerprint);

}  // namespace phidias
