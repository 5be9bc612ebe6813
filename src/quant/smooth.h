#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "common/thread_pool.h"
#include "quant/calibration_stats.h"
#include "quant/scheme.h"
#include "quant/weight_quantizer.h"

namespace phidias {

// SmoothQuant (Xiao et al., 2023): inputs with a few large channels lose the small ones when they are quantised with
// one scale. Dividing each channel by a factor, and multiplying the weight columns that read it, moves the difficulty
// into the weights; what made the channel (a LayerNorm, or v_proj before dense) takes up the division.

// s = x_absmax^alpha / w_absmax^(1 - alpha), one per channel; 1 for a channel that is always zero. By the contract's
// own exponential and logarithm: the same on every machine.
std::vector<float> SmoothFactors(const std::vector<float>& x_absmax, const std::vector<float>& w_absmax, double alpha);

// A linear layer's input and the layers that read it.
struct SmoothTarget {
  const ActivationStats* input = nullptr;
  std::vector<float> samples;                // [samples, cols] of the input, unsmoothed
  std::vector<const WeightSource*> readers;  // unsmoothed
  // Channels c with the same channel_of[c] share a factor (grouped heads); empty: each has its own.
  std::vector<int64_t> channel_of;
};

struct SmoothChoice {
  bool smooth = false;
  double alpha = 0;
  std::vector<float> factor;  // [cols]: divide the input's channel by it
};

// With `alpha`.
SmoothChoice SmoothWith(const SmoothTarget& target, double alpha);

// The alpha (or no smoothing at all) with the least error of the readers' outputs under the scheme, over the sampled
// inputs and up to 256 of each reader's rows; the readers' relative squared errors are added up.
Result<SmoothChoice> SearchSmoothing(const SmoothTarget& target, const QuantScheme& scheme, ThreadPool* pool);

}  // namespace phidias
