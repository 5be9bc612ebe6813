#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "common/dtype.h"

namespace phidias {

// A stored matrix [rows, cols], row-major and contiguous, usually inside a mapped file. `data` may lie at any address,
// so it is read through unaligned loads only. dtype is one of kF32, kF16, kBF16, kQ8_0.
struct WeightMatrix {
  DType dtype = DType::kF32;
  const std::byte* data = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;

  int64_t RowBytes() const { return DTypeBytes(dtype, cols); }
  const std::byte* Row(int64_t row) const { return data + row * RowBytes(); }
};

// y[M, N] = x[M, K] * weight[N, K]^T + bias[N].
struct LinearWeights {
  std::string name;  // the checkpoint's own, "model.layers.3.mlp.fc1"
  WeightMatrix weight;
  std::vector<float> bias;  // N values, or none
};

struct LayerNormWeights {
  std::string name;
  std::vector<float> weight;
  std::vector<float> bias;
};

}  // namespace phidias
