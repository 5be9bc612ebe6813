#pragma once

#include <cstddef>
#include <cstdint>

namespace phidias::ref {

// One row of 4-bit weights: w[k] = scale * multiplier[k / group] * q[k].
struct RowI4 {
  const std::byte* packed = nullptr;    // q + 8, two in a byte, the first in the lower half
  const uint8_t* multiplier = nullptr;  // one for each group, the last of which may be shorter
  int64_t group = 0;
};

// sum_g multiplier[g] * sum_{k in g} x[k] * q[k], exact: |sum| <= 63 * 8 * 128 * k, within int32 for k <= 32768.
int32_t DotI4(const int8_t* x, const RowI4& row, int64_t k);

// sum_g multiplier[g] * sum_{k in g} q[k].
int32_t SumI4(const RowI4& row, int64_t k);

// The row as float32: the integer multiplier * q, exact, times scale.
void DequantizeRowI4(const RowI4& row, float scale, int64_t k, float* out);

// A matrix of such rows, `row_bytes` and `groups` apart.
struct MatrixI4View {
  const std::byte* packed = nullptr;
  int64_t row_bytes = 0;
  const uint8_t* multiplier = nullptr;
  int64_t groups = 0;
  int64_t group = 0;

  RowI4 Row(int64_t n) const { return {packed + n * row_bytes, multiplier + n * groups, group}; }
};

// The integer-only linear layer for one token: y[n] = s_x * s_w[n] * sum_k w[n, k] (q_x - z_x) + bias[n], w in units of
// its row's scale. `bias` may be null.
void LinearI4(const int8_t* x, float s_x, int32_t z_x, const MatrixI4View& weight, const float* s_w, const float* bias,
              int64_t n, int64_t k, float* y);

}  // namespace phidias::ref
