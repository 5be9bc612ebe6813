#pragma once

#include <cstdint>

namespace phidias::ref {

// sum_k a[k] * b[k], exact: |sum| <= 128 * 128 * k, within int32 for k < 131072.
int32_t DotS8(const int8_t* a, const int8_t* b, int64_t k);

// sum_k a[k].
int32_t SumS8(const int8_t* a, int64_t k);

// The integer-only linear layer for one token: y[n] = s_x * s_w[n] * sum_k (q_w - z_w)(q_x - z_x) + bias[n]. `z_w` and
// `bias` may be null.
void LinearS8(const int8_t* x, float s_x, int32_t z_x, const int8_t* weight, const float* s_w, const int32_t* z_w,
              const float* bias, int64_t n, int64_t k, float* y);

// One row to int8 with a given scale (numerics::QuantizeS8).
void QuantizeRow(const float* x, int64_t n, float scale, int32_t zero_point, int8_t* q);

// scale * (q - zero_point): an int8 weight row as float32.
void DequantizeRow(const int8_t* q, int64_t n, float scale, int32_t zero_point, float* out);

}  // namespace phidias::ref
