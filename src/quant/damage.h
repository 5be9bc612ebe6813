#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "backend/cpu/cpu_options.h"
#include "common/status.h"
#include "model/checkpoint.h"
#include "quant/perplexity.h"
#include "quant/plan.h"
#include "quant/ranks.h"
#include "quant/switch_backend.h"

namespace phidias {

// What is quantised alone, to see what it costs: each layer (all its linear layers), each linear layer, or nothing.
enum class DamageUnit { kNone, kLayer, kLinear };

struct DamageOptions {
  DamageUnit unit = DamageUnit::kLayer;
  int64_t batch = 1024;
  CpuOptions cpu = {};
  const std::atomic<bool>* cancel = nullptr;
  // What is being measured ("layer 3 alone"), which of how many measurements.
  std::function<void(const std::string& what, size_t index, size_t count)> starts = {};
  std::function<void(int64_t done, int64_t total)> progress = {};
  Ranks* ranks = nullptr;
};

struct LinearDamage {
  std::string name;  // "model.layers.0.self_attn.q_proj"
  bool quantised = false;
  // Of its output, with the float model's own input: what this layer adds, not what it inherits.
  OutputError error;
};

// The perplexity when only `name` is quantised.
struct AloneDamage {
  std::string name;  // of the layer ("model.layers.0") or linear layer
  double perplexity = 0;
  PerplexityChange change;
};

struct DamageResult {
  double float_perplexity = 0;
  double quantised_perplexity = 0;  // with everything that the plan quantises
  PerplexityChange change;
  int64_t tokens = 0;                 // scored by each perplexity
  std::vector<LinearDamage> linears;  // in the checkpoint's order, lm_head last
  std::vector<AloneDamage> alone;     // in the checkpoint's order
};

// Where quantising by `plan` hurts. Outputs are compared over `probe_rows` (token ids), perplexities over `rows`. Each
// row's numbers are added up in the rows' order: the same digits for any number of ranks. `source` is the checkpoint
// that the plan was made for. With smoothing, float means the smoothed model in float, which is the same function.
Result<DamageResult> MeasureDamage(const Checkpoint& source, const QuantPlan& plan,
                                   std::span<const std::vector<int32_t>> probe_rows, std::span<const ScoredRow> rows,
                                   const DamageOptions& options);

}  // namespace phidias
