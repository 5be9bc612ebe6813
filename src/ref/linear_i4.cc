#include "ref/linear_i4.h"

#include <algorithm>

#include "numerics/int4.h"
#include "numerics/quantize.h"

namespace phidias::ref {
namespace {

int32_t WeightAt(const RowI4& row, int64_t k) {
  return numerics::UnpackI4(static_cast<uint32_t>(row.packed[k / 2]), k);
}

// sum_k q[k] of inputs [begin, end), `begin` even: both halves of each byte, then the offset of them all.
int32_t SumOfGroup(const RowI4& row, int64_t begin, int64_t end) {
  int32_t sum = 0;
  for (int64_t i = begin / 2; i < end / 2; ++i) {
    const auto byte = static_cast<int32_t>(row.packed[i]);
    sum += (byte & 15) + (byte >> 4);
  }
  sum -= numerics::kI4Offset * static_cast<int32_t>(end / 2 * 2 - begin);
  return end % 2 == 0 ? sum : sum + WeightAt(row, end - 1);
}

}  // namespace

int32_t DotI4(const int8_t* x, const RowI4& row, int64_t k) {
  int32_t sum = 0;
  for (int64_t i = 0; i < k; ++i) {
    sum += row.multiplier[i / row.group] * WeightAt(row, i) * x[i];
  }
  return sum;
}

int32_t SumI4(const RowI4& row, int64_t k) {
  int32_t sum = 0;
  for (int64_t begin = 0; begin < k; begin += row.group) {
    sum += row.multiplier[begin / row.group] * SumOfGroup(row, begin, std::min(begin + row.group, k));
  }
  return sum;
}

void DequantizeRowI4(const RowI4& row, float scale, int64_t k, float* out) {
  for (int64_t begin = 0; begin < k; begin += row.group) {
    const int32_t multiplier = row.multiplier[begin / row.group];
    const int64_t end = std::min(begin + row.group, k);
    for (int64_t i = begin; i < end; ++i) {
      out[i] = static_cast<float>(multiplier * WeightAt(row, i)) * scale;
    }
  }
}

void LinearI4(const int8_t* x, float s_x, int32_t z_x, const MatrixI4View& weight, const float* s_w, const float* bias,
              int64_t n, int64_t k, float* y) {
  for (int64_t i = 0; i < n; ++i) {
    const RowI4 row = weight.Row(i);
    const int32_t acc = DotI4(x, row, k) - z_x * SumI4(row, k);
    y[i] = numerics::DequantizeAcc(acc, s_x, s_w[i], bias != nullptr ? bias[i] : 0.0F);
  }
}

}  // namespace phidias::ref
