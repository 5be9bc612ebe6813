#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "common/dtype.h"

namespace phidias {

// A stored matrix [rows, cols], row-major and contiguous, usually inside a mapped file. `data` may lie at any address,
// so it is read through unaligned loads only. dtype is one of kF32, kF16, kBF16, kQ8_0, kI8,
// kI4.
struct WeightMatrix {
  DType dtype = DType::kF32;
  const std::byte* data = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;

  int64_t RowBytes() const { return DTypeBytes(dtype, cols); }
  const std::byte* Row(int64_t row) const { return data + row * RowBytes(); }
};

// How an int8 or 4-bit weight stands for real numbers:
//   int8   w[n, k] = scale[n] * (q[n, k] - zero_point[n])
//   4 bits w[n, k] = scale[n] * multiplier[n, k / group] * q[n, k]     (docs/numerics.md, "4-bit weights")
struct WeightQuant {
  std::vector<float> scale;         // N values (one per tensor is spread over the rows on reading)
  std::vector<int32_t> zero_point;  // N values in -128..127, or none: symmetric. None for 4 bits
  int64_t group = 0;                // of 4 bits: inputs that share a multiplier, 32, 64 or 128
  std::vector<uint8_t> multiplier;  // of 4 bits: [N, Groups(K)], 1..63; the last group of a row may be shorter

  int64_t Groups(int64_t k) const { return (k + group - 1) / group; }
};

// How a linear layer's input is quantised before the product.
struct InputQuant {
  enum class Kind : uint8_t {
    kNone,     // left in float
    kStatic,   // scale and zero_point below, found by calibration
    kDynamic,  // per token, from the row's own range
  };
  Kind kind = Kind::kNone;
  bool symmetric = true;   // of kDynamic: range by absmax / 127.5, or by min and max
  float scale = 1.0F;      // of kStatic
  int32_t zero_point = 0;  // of kStatic; x = scale * (q - zero_point)

  bool operator==(const InputQuant&) const = default;
};

// y[M, N] = x[M, K] * weight[N, K]^T + bias[N].
// int8 or 4-bit weight with a quantised input: integer products (W8A8, W4A8). The same with a float input: the weight
// is dequantised (weight-only). Float weight with a quantised input: the input is quantised and dequantised (the
// ablation of the source report's table). All meanings: docs/numerics.md.
struct LinearWeights {
  std::string name;  // of the `phi` kind whatever the checkpoint's own: "model.layers.3.mlp.fc1"
  WeightMatrix weight;
  std::vector<float> bias;  // N values, or none
  WeightQuant quant{};      // of a kI8 or kI4 weight
  InputQuant input{};
};

struct LayerNormWeights {
  std::string name;
  std::vector<float> weight;
  std::vector<float> bias;
};

}  // namespace phidias
