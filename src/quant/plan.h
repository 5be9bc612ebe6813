#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "backend/integer_constants.h"
#include "common/thread_pool.h"
#include "model/checkpoint.h"
#include "quant/calibration_stats.h"
#include "quant/scheme.h"
#include "quant/weight_quantizer.h"

namespace phidias {

// What becomes of one linear layer. The int8 rows themselves are made from this when they are needed (to keep them in
// memory, or to write them), so a plan is small: scales, factors, biases.
struct LinearPlan {
  std::string name;     // "model.layers.3.mlp.fc1"
  WeightSource source;  // the stored weight with smoothing's factors; refers to the checkpoint's memory
  bool quantize = false;
  WeightQuant quant;  // if `quantize`; 4 bits where it has a group
  // 4-bit rows as kI4 stores them, where they are more than the rounding of `source` (GPTQ); else null.
  std::shared_ptr<const std::vector<std::byte>> packed;
  InputQuant input;         // may be set without `quantize`: the ablation with float weights
  std::vector<float> bias;  // smoothed
  bool bias_changed = false;

  bool FourBits() const { return quantize && quant.group > 0; }
  bool HasFactors() const { return !source.column_factor.empty() || !source.row_factor.empty(); }
};

struct LayerPlan {
  LayerNormWeights norm;  // smoothed
  bool norm_changed = false;
  LinearPlan q_proj, k_proj, v_proj, dense, fc1, fc2;
  std::optional<double> norm_alpha;   // smoothing of q, k, v and fc1's input, if there is any
  std::optional<double> dense_alpha;  // of dense's

  std::array<LinearPlan*, 6> Linears() { return {&q_proj, &k_proj, &v_proj, &dense, &fc1, &fc2}; }
  std::array<const LinearPlan*, 6> Linears() const { return {&q_proj, &k_proj, &v_proj, &dense, &fc1, &fc2}; }
};

struct QuantPlan {
  QuantScheme scheme;
  std::vector<LayerPlan> layers;
  LinearPlan lm_head;
  std::vector<std::string> skipped;     // linear layers left in float because of --skip
  std::vector<std::string> eight_bits;  // of a 4-bit scheme: those that are left at 8 (lm_head isn't named)
  std::optional<IntegerConstants> integer;

  // All linear layers in the checkpoint's order, lm_head last.
  std::vector<const LinearPlan*> Linears() const;
  bool FourBits() const;  // whether any is
};

// An error for a checkpoint that has int8 weights or quantised inputs: only float ones can be quantised.
Status CheckNotQuantized(const Checkpoint& source);

// done and total count layers.
using QuantProgress = std::function<void(int64_t done, int64_t total)>;

struct PlanOptions {
  QuantProgress progress;
  const std::atomic<bool>* cancel = nullptr;  // looked at between layers
  // Where each layer is kept when it is found (quant/plan_state.h), so that the same plan, made again, takes it from
  // there; empty: nowhere.
  std::string state_path;
};

// Finds scales, zero points, smoothing factors and integer constants; reads every weight once. `stats` may be null
// where the scheme needs no calibration. `source` must outlive the plan. Errors: a scheme that can't be, a --skip
// pattern that matches no layer, a model that is quantised already, weights that aren't finite, statistics of another
// shape. With RangeKind::kGptq this is the plan that RunGptq starts from, whose weights are those of kMse.
Result<QuantPlan> MakeQuantPlan(const Checkpoint& source, const CalibrationStats* stats, const QuantScheme& scheme,
                                ThreadPool* pool, const PlanOptions& options = {});

}  // namespace phidias
