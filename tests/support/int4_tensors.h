#pragma once

// Tensors of 4-bit layers as compressed-tensors' `pack-quantized` has them.

#include <cmath>
#include <string>
#include <vector>

#include "backend/int4_rows.h"
#include "tests/support/checkpoint_builder.h"

namespace phidias::testing_support {

// weight_shape of compressed-tensors.
inline BuiltTensor ShapeTensor(int64_t rows, int64_t cols, DType dtype = DType::kI64) {
  std::vector<std::byte> bytes;
  for (const int64_t value : {rows, cols}) {
    const auto* from = reinterpret_cast<const std::byte*>(&value);  // little-endian: an I32 is its first half
    bytes.insert(bytes.end(), from, from + DTypeBytes(dtype, 1));
  }
  return {dtype, {2}, bytes};
}

// `stem`.weight as another program packs it: its own scale for each group of `group` columns (0: for the row).
inline void PackLinear(const std::string& stem, int64_t group, DType scale_dtype, BuiltTensors* tensors) {
  const std::vector<int64_t> shape = tensors->at(stem + ".weight").shape;
  const int64_t rows = shape[0];
  const int64_t cols = shape[1];
  const int64_t groups = group == 0 ? 1 : (cols + group - 1) / group;
  std::vector<float> scales = RandomValues(3, stem, rows * groups);
  for (float& scale : scales) {
    scale = 0.01F * (1.5F + scale);  // 0.005 to 0.025
  }
  const std::vector<float> random = RandomValues(4, stem, rows * cols);
  std::vector<int8_t> q(static_cast<size_t>(cols));
  const int64_t row_bytes = DTypeBytes(DType::kI4, cols);
  std::vector<std::byte> packed(static_cast<size_t>(rows * row_bytes));
  for (int64_t n = 0; n < rows; ++n) {
    for (int64_t k = 0; k < cols; ++k) {
      q[static_cast<size_t>(k)] = static_cast<int8_t>(std::floor(random[static_cast<size_t>(n * cols + k)] * 8));
    }
    PackInt4Row(q.data(), cols, packed.data() + n * row_bytes);
  }
  tensors->erase(stem + ".weight");
  (*tensors)[stem + ".weight_packed"] = {DType::kI32, {rows, (cols + 7) / 8}, packed};
  (*tensors)[stem + ".weight_scale"] = {scale_dtype, {rows, groups}, EncodeValues(scales, scale_dtype)};
  (*tensors)[stem + ".weight_shape"] = ShapeTensor(rows, cols);
}

}  // namespace phidias::testing_support
