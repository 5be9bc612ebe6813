#pragma once

#include "numerics/bits.h"
#include "numerics/rounding.h"

namespace phidias {
namespace numerics {

// int8 quantisation and the integer-only linear layer (docs/numerics.md, "int8 linear layers").

static constexpr int32_t kS8Min = -128;
static constexpr int32_t kS8Max = 127;
// No scale is smaller: torch.finfo(float32).eps, as compressed-tensors has it. Keeps 1 / scale finite for dead
// channels.
static constexpr float kMinScale = 1.1920928955078125e-07f;

// round(x * inv_scale + zero_point), half to even, clamped to int8. inv_scale is 1.0f / scale, made once: a divider per
// element is dear on the card. NaN gives -128.
PHIDIAS_INLINE int32_t QuantizeS8(float x, float inv_scale, float zero_point) {
  float t = x * inv_scale + zero_point;
  t = t > -128.0f ? t : -128.0f;
  t = t < 127.0f ? t : 127.0f;
  return RoundHalfEven(t);
}

PHIDIAS_INLINE float DequantizeS8(int32_t q, int32_t zero_point, float scale) {
  return static_cast<float>(q - zero_point) * scale;
}

struct ScaleZero {
  float scale;
  int32_t zero_point;
};

// compressed-tensors' rule for int8. Symmetric: scale = absmax / 127.5. Asymmetric: the range is made to hold 0; scale
// = (max - min) / 255, zero_point = round(clamp(-128 - min / scale)).
PHIDIAS_INLINE ScaleZero SymmetricScale(float absmax) {
  const float scale = absmax / 127.5f;
  return {scale > kMinScale ? scale : kMinScale, 0};
}
PHIDIAS_INLINE ScaleZero AsymmetricScale(float min, float max) {
  const float low = min < 0.0f ? min : 0.0f;
  const float high = max > 0.0f ? max : 0.0f;
  float scale = (high - low) / 255.0f;
  scale = scale > kMinScale ? scale : kMinScale;
  float zero = -128.0f - low / scale;
  zero = zero > -128.0f ? zero : -128.0f;
  zero = zero < 127.0f ? zero : 127.0f;
  return {scale, RoundHalfEven(zero)};
}

// sum_k (q_x[k] - z_x) (q_w[k] - z_w) from the raw sum of products: the sums of q_w and of q_x are made once per row.
// Exact in int32: |q - z| <= 255, so the sum stays below 255 * 255 * 10240 = 6.7e8; every intermediate is below 2^31
// for k <= 16384.
PHIDIAS_INLINE int32_t FoldZeroPoints(int32_t raw, int32_t z_x, int32_t sum_w, int32_t z_w, int32_t sum_x, int32_t k) {
  return raw - z_x * sum_w - z_w * sum_x + k * z_x * z_w;
}

// y = acc * (s_x * s_w) + bias: three roundings (the product of the scales, the product, the sum) after int32 ->
// float32.
PHIDIAS_INLINE float DequantizeAcc(int32_t acc, float s_x, float s_w, float bias) {
  return static_cast<float>(acc) * (s_x * s_w) + bias;
}

}  // namespace numerics
}  // namespace phidias
