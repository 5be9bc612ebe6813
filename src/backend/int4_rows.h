#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "backend/weights.h"
#include "numerics/int4.h"
#include "ref/linear_i4.h"

namespace phidias {

// Rows of 4-bit weights as kI4 stores them: eight to a little-endian 32-bit word, the first in the lowest bits, each as
// q + 8 (docs/formats.md). A row takes whole words; what is left of its last one is 0, as compressed-tensors pads.

// q[0..k) of a stored row at any address.
inline void UnpackInt4Row(const std::byte* row, int64_t k, int8_t* q) {
  for (int64_t i = 0; i < k; ++i) {
    q[i] = static_cast<int8_t>(numerics::UnpackI4(std::to_integer<uint32_t>(row[i / 2]), i));
  }
}

// `row` has DTypeBytes(kI4, k) bytes.
inline void PackInt4Row(const int8_t* q, int64_t k, std::byte* row) {
  std::memset(row, 0, static_cast<size_t>(DTypeBytes(DType::kI4, k)));
  for (int64_t i = 0; i < k; ++i) {
    row[i / 2] |= static_cast<std::byte>((q[i] + numerics::kI4Offset) << (i % 2 == 0 ? 0 : 4));
  }
}

// What a step of group g of row n stands for.
inline float Int4Step(const WeightQuant& quant, int64_t groups, int64_t n, int64_t g) {
  return quant.scale[static_cast<size_t>(n)] *
         static_cast<float>(quant.multiplier[static_cast<size_t>(n * groups + g)]);
}

// compressed-tensors' `weight_scale` [N, groups].
inline std::vector<float> Int4Steps(const WeightQuant& quant, int64_t groups) {
  std::vector<float> steps(quant.multiplier.size());
  for (size_t i = 0; i < steps.size(); ++i) {
    const auto at = static_cast<int64_t>(i);
    steps[i] = Int4Step(quant, groups, at / groups, at % groups);
  }
  return steps;
}

// Row n of a kI4 matrix as float32.
inline void DecodeInt4Row(const WeightMatrix& matrix, const WeightQuant& quant, int64_t n, float* w) {
  const uint8_t* multiplier = quant.multiplier.data() + n * quant.Groups(matrix.cols);
  ref::DequantizeRowI4({matrix.Row(n), multiplier, quant.group}, quant.scale[static_cast<size_t>(n)], matrix.cols, w);
}

}  // namespace phidias
