#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "model/config.h"
#include "quant/histogram.h"

namespace phidias {

// What calibration keeps of one activation [tokens, cols].
struct ActivationStats {
  Histogram histogram;
  std::vector<float> channel_min;  // [cols], at most 0
  std::vector<float> channel_max;  // [cols], at least 0

  explicit ActivationStats(int64_t cols = 0);
  void Add(int64_t cols, std::span<const float> values);
  void Merge(const ActivationStats& other);

  bool operator==(const ActivationStats&) const = default;
};

struct LayerStats {
  ActivationStats norm;   // input_layernorm's output, the input of q, k, v and fc1 [hidden]
  ActivationStats dense;  // dense's input [n_heads * head_dim]
  ActivationStats fc2;    // fc2's input [intermediate]
  Histogram fc1_out;
  std::vector<float> q_absmax;  // [n_heads] after rotation
  std::vector<float> k_absmax;  // [n_kv_heads] after rotation
  std::vector<float> v_absmax;  // [n_kv_heads * head_dim]: per channel, because smoothing scales channels

  bool operator==(const LayerStats&) const = default;
};

// A token whose activations are kept whole, for the search of smoothing factors. Which tokens are kept is decided by
// random numbers of (seed, row, position), the smallest ones: the choice depends on the set of rows alone.
struct SampleKey {
  uint64_t priority = 0;
  int64_t row = 0;
  int32_t pos = 0;

  auto operator<=>(const SampleKey&) const = default;  // NOLINT(modernize-use-nullptr): clang-tidy 14 sees a 0 in it
};

// Everything that the quantiser wants to know of a model's activations. Two of them, from different rows, merge
// exactly: the result is that of one pass over all the rows, whatever the order.
struct CalibrationStats {
  std::vector<LayerStats> layers;
  ActivationStats final_norm;  // lm_head's input [hidden]
  float residual_absmax = 0;   // of the residual stream, embedding included
  int64_t rows = 0;
  int64_t tokens = 0;

  int64_t sample_limit = 0;
  // The kept tokens: per layer norm's values [hidden], then dense's input [n_heads * head_dim].
  std::map<SampleKey, std::vector<float>> samples;

  static CalibrationStats ForModel(const PhiConfig& config, int64_t sample_limit);
  // Of the same model and sample_limit.
  void Merge(const CalibrationStats& other);
  // Data error that names the first activation with NaN or infinity.
  Status CheckFinite() const;

  // One layer's part of the samples: [samples, hidden] or [samples, n_heads * head_dim].
  std::vector<float> NormSamples(int64_t layer) const;
  std::vector<float> DenseSamples(int64_t layer) const;

  void Write(ByteWriter* out) const;
  // `config` and `sample_limit` say which sizes are right.
  static Result<CalibrationStats> Read(ByteReader* in, const PhiConfig& config, int64_t sample_limit);

  bool operator==(const CalibrationStats&) const = default;

 private:
  std::vector<float> Samples(int64_t offset, int64_t cols) const;
};

}  // namespace phidias
