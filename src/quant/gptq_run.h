#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "backend/cpu/cpu_options.h"
#include "common/status.h"
#include "common/thread_pool.h"
#include "model/checkpoint.h"
#include "quant/plan.h"

namespace phidias {

struct GptqOptions {
  CpuOptions cpu = {};
  // Finished layers are kept in files that begin with this, so that an interrupted run goes on from there; empty:
  // nowhere. RemoveGptqState removes them when the result is safe.
  std::string state_path = {};
  QuantProgress progress = {};  // layers
  const std::atomic<bool>* cancel = nullptr;
};

// Rounds the plan's 4-bit weights anew by GPTQ (quant/gptq.h), layer by layer: a layer's Hessians come from inputs that
// the quantised layers before it make of `rows` (token ids), quantised as the plan says. Memory: a layer in float32,
// the largest Hessian, the rows' residual streams, and all 4-bit weights. `source` is what the plan was made from. The
// result depends on model, plan and rows alone, not on threads or interruptions. Errors name layer and input: a Hessian
// that can't be used, a state of something else; cancellation.
Status RunGptq(const Checkpoint& source, std::span<const std::vector<int32_t>> rows, const GptqOptions& options,
               ThreadPool* pool, QuantPlan* plan);

void RemoveGptqState(const std::string& state_path, int64_t n_layers);

}  // namespace phidias
