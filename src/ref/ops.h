#pragma once

#include <cstdint>

// Plain scalar operators: the meaning of each, one operation after the other as docs/numerics.md orders them (`float`
// arithmetic). Every fast or hardware version is tested against these and must give the same bits. Callers hold a
// numerics::ScopedFlushToZero.
namespace phidias::ref {

// sum_k a[k] * b[k] in the contract's order.
float Dot(const float* a, const float* b, int64_t k);

// y[N] = weight[N, K] x[K] + bias[N]; bias may be null.
void Linear(const float* x, const float* weight, const float* bias, int64_t n, int64_t k, float* y);

// y[n] = (x - mean) / sqrt(var + eps) * weight + bias, var the mean of squares about the mean.
void LayerNorm(const float* x, const float* weight, const float* bias, float eps, int64_t n, float* y);

void Gelu(const float* x, int64_t n, float* y);

// x[n] = (att[n] + mlp[n]) + x[n].
void AddResidual(const float* att, const float* mlp, int64_t n, float* x);

// Rotates the first `rotary_dim` elements of one head in place; cos_row and sin_row have rotary_dim / 2 entries.
void Rotary(const float* cos_row, const float* sin_row, int64_t rotary_dim, float* head);

// One query head over `count` cached positions. q[head_dim] is already rotated; keys and values are rows of `stride`
// floats; scale is 1 / sqrt(head_dim), multiplied into q first. scores[count] is working space. out[head_dim].
void AttentionHead(const float* q, const float* keys, const float* values, int64_t stride, int64_t count,
                   int64_t head_dim, float scale, float* scores, float* out);

}  // namespace phidias::ref
