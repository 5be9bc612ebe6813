#include "ref/linear_s8.h"

#include "numerics/quantize.h"

namespace phidias::ref {

int32_t DotS8(const int8_t* a, const int8_t* b, int64_t k) {
  int32_t sum = 0;
  for (int64_t i = 0; i < k; ++i) {
    sum += static_cast<int32_t>(a[i]) * static_cast<int32_t>(b[i]);
  }
  return sum;
}

int32_t SumS8(const int8_t* a, int64_t k) {
  int32_t sum = 0;
  for (int64_t i = 0; i < k; ++i) {
    sum += a[i];
  }
  return sum;
}

void LinearS8(const int8_t* x, float s_x, int32_t z_x, const int8_t* weight, const float* s_w, const int32_t* z_w,
              const float* bias, int64_t n, int64_t k, float* y) {
  const int32_t sum_x = SumS8(x, k);
  for (int64_t i = 0; i < n; ++i) {
    const int8_t* row = weight + i * k;
    const int32_t acc = numerics::FoldZeroPoints(DotS8(x, row, k), z_x, SumS8(row, k), z_w != nullptr ? z_w[i] : 0,
                                                 sum_x, static_cast<int32_t>(k));
    y[i] = numerics::DequantizeAcc(acc, s_x, s_w[i], bias != nullptr ? bias[i] : 0.0F);
  }
}

void QuantizeRow(const float* x, int64_t n, float scale, int32_t zero_point, int8_t* q) {
  const float inv_scale = 1.0F / scale;
  for (int64_t i = 0; i < n; ++i) {
    q[i] = static_cast<int8_t>(numerics::QuantizeS8(x[i], inv_scale, static_cast<float>(zero_point)));
  }
}

void DequantizeRow(const int8_t* q, int64_t n, float scale, int32_t zero_point, float* out) {
  for (int64_t i = 0; i < n; ++i) {
    out[i] = numerics::DequantizeS8(q[i], zero_point, scale);
  }
}

}  // namespace phidias::ref
