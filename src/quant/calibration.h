#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "model/phi.h"
#include "quant/calibration_stats.h"

namespace phidias {

struct CalibrationOptions {
  int64_t step_tokens = 512;  // rows are put together into steps of about so many tokens
  int64_t sample_tokens = 0;  // tokens whose activations are kept whole (CalibrationStats::samples)
  uint64_t seed = 0;          // of their choice
  // This process takes the rows i with i % processes == process; the others' statistics are merged by the caller.
  int64_t process = 0;
  int64_t processes = 1;
  // Where the work so far is kept, so that an interrupted run goes on from there; empty: nowhere. The caller removes it
  // when the result is safe.
  std::string state_path = {};
  double state_seconds = 20;                                       // between two writes
  std::function<void(int64_t done, int64_t total)> progress = {};  // rows of this process; after every step
  const std::atomic<bool>* cancel = nullptr;
};

// Runs the rows (token ids; empty ones are passed over) through the model once and gathers statistics of every linear
// layer's input and of what the `integer` arithmetic needs. Goes on from `state_path` where it holds a state of the
// same model, rows and options; a file there that is anything else is an error, not overwritten. Errors: no tokens at
// all, a row longer than the model's context, a token outside the vocabulary, activations that aren't finite,
// cancellation (the last written state stays).
Result<CalibrationStats> Calibrate(Phi& phi, std::span<const std::vector<int32_t>> rows,
                                   const CalibrationOptions& options);

}  // namespace phidias
