#pragma once

#include <CLI/CLI.hpp>
#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/status.h"
#include "engine/loaded_model.h"
#include "quant/calibration_stats.h"
#include "quant/dataset.h"
#include "quant/ranks.h"

namespace phidias::cli {

// --calibration, --calibration-samples, --calibration-max-tokens, --calibration-seed.
struct CalibrationFlags {
  std::optional<std::string> path;
  int64_t samples = 1024;
  int64_t max_tokens = 512;
  int64_t seed = -1;  // -1: the first rows
};

// `alone`: the verb has no other data, so that --samples, --max-tokens and --seed mean these too.
void AddCalibrationFlags(CLI::App& app, CalibrationFlags* flags, bool required, bool alone = false);

// What calibration gave.
struct Calibrated {
  Dataset dataset;
  CalibrationStats stats;
};

// Reads the rows and runs them through the model, with a progress bar and notes on stderr if `notes`. The state is kept
// at `state_path` ("": nowhere); `sample_tokens` as in CalibrationOptions.
Result<Calibrated> RunCalibration(const CalibrationFlags& flags, const LoadedModel& model, int64_t sample_tokens,
                                  const std::string& state_path, bool notes, const std::atomic<bool>* cancel,
                                  Ranks& ranks);

}  // namespace phidias::cli
