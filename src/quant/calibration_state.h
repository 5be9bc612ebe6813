#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "model/checkpoint.h"
#include "quant/calibration.h"

namespace phidias {

// An interrupted calibration: how many of the process's rows are in the statistics.
struct CalibrationState {
  int64_t rows_done = 0;
  CalibrationStats stats;
};

// Tells calibrations apart: the model's content, every token, and the options that matter.
std::string CalibrationFingerprint(const Checkpoint& checkpoint, std::span<const std::vector<int32_t>> rows,
                                   const CalibrationOptions& options);

Status WriteCalibrationState(const std::string& path, const std::string& fingerprint, const CalibrationState& state);

// Nothing where there is no such file. Errors name the file: not a state, damaged, of another calibration.
Result<std::optional<CalibrationState>> ReadCalibrationState(const std::string& path, const std::string& fingerprint,
                                                             const PhiConfig& config, int64_t sample_limit);

}  // namespace phidias
