#pragma once

#include <span>
#include <vector>

#include "quant/calibration.h"
#include "quant/ranks.h"

namespace phidias {

// Calibrate with the rows spread over the ranks, and their statistics merged: exactly those of one process, on every
// rank. `options.process` and `processes` are set here; each rank keeps a state of its own (state_path with
// ".rank-of-size" behind it where there are several).
Result<CalibrationStats> CalibrateOnRanks(Phi& phi, std::span<const std::vector<int32_t>> rows,
                                          CalibrationOptions options, Ranks& ranks);

// Removes the states that CalibrateOnRanks left, once what they were for is safe.
void RemoveCalibrationState(const std::string& state_path, const Ranks& ranks);

// Equal statistics have equal ones.
std::string StatsFingerprint(const CalibrationStats& stats);

}  // namespace phidias
