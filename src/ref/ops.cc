#include "ref/ops.h"

#include <cstddef>
#include <vector>

#include "numerics/elementary.h"
#include "numerics/reduce.h"
#include "numerics/rotary.h"

namespace phidias::ref {
namespace {

// Sum of term(0) .. term(count - 1) in the contract's 16 lanes, the last group filled up with zeros.
template <class Term>
float LaneSum(int64_t count, Term term) {
  float lanes[numerics::kLanes] = {};
  for (int64_t k = 0; k < count; ++k) {
    lanes[k % numerics::kLanes] += term(k);
  }
  for (int64_t k = count; k % numerics::kLanes != 0; ++k) {
    lanes[k % numerics::kLanes] += 0.0F;
  }
  return numerics::TreeSum(lanes);
}

}  // namespace

float Dot(const float* a, const float* b, int64_t k) {
  return LaneSum(k, [&](int64_t i) { return a[i] * b[i]; });
}

void Linear(const float* x, const float* weight, const float* bias, int64_t n, int64_t k, float* y) {
  for (int64_t i = 0; i < n; ++i) {
    const float acc = Dot(x, weight + i * k, k);
    y[i] = bias != nullptr ? acc + bias[i] : acc;
  }
}

void LayerNorm(const float* x, const float* weight, const float* bias, float eps, int64_t n, float* y) {
  const auto count = static_cast<float>(n);
  const float mean = LaneSum(n, [&](int64_t i) { return x[i]; }) / count;
  const float var = LaneSum(n,
                            [&](int64_t i) {
                              const float d = x[i] - mean;
                              return d * d;
                            }) /
                    count;
  const float inv_std = 1.0F / numerics::Sqrt(var + eps);
  for (int64_t i = 0; i < n; ++i) {
    y[i] = ((x[i] - mean) * inv_std) * weight[i] + bias[i];
  }
}

void Gelu(const float* x, int64_t n, float* y) {
  for (int64_t i = 0; i < n; ++i) {
    y[i] = numerics::GeluNew(x[i]);
  }
}

void AddResidual(const float* att, const float* mlp, int64_t n, float* x) {
  for (int64_t i = 0; i < n; ++i) {
    x[i] = (att[i] + mlp[i]) + x[i];
  }
}

void Rotary(const float* cos_row, const float* sin_row, int64_t rotary_dim, float* head) {
  const int64_t half = rotary_dim / 2;
  for (int64_t i = 0; i < half; ++i) {
    numerics::Rotate(cos_row[i], sin_row[i], &head[i], &head[i + half]);
  }
}

void AttentionHead(const float* q, const float* keys, const float* values, int64_t stride, int64_t count,
                   int64_t head_dim, float scale, float* scores, float* out) {
  std::vector<float> scaled(static_cast<size_t>(head_dim));
  for (int64_t d = 0; d < head_dim; ++d) {
    scaled[d] = q[d] * scale;
  }
  for (int64_t j = 0; j < count; ++j) {
    scores[j] = Dot(scaled.data(), keys + j * stride, head_dim);
  }
  float max = scores[0];
  for (int64_t j = 1; j < count; ++j) {
    max = scores[j] > max ? scores[j] : max;
  }
  for (int64_t j = 0; j < count; ++j) {
    scores[j] = numerics::Exp(scores[j] - max);
  }
  const float inv_sum = 1.0F / LaneSum(count, [&](int64_t j) { return scores[j]; });
  for (int64_t d = 0; d < head_dim; ++d) {
    float acc = 0.0F;
    for (int64_t j = 0; j < count; ++j) {
      acc += scores[j] * values[j * stride + d];
    }
    out[d] = acc * inv_sum;
  }
}

}  // namespace phidias::ref
