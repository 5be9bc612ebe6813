#pragma once

#include "numerics/bits.h"

namespace phidias {
namespace numerics {

// The contract's elementary functions: fixed sequences of IEEE single-precision operations, every one rounded (no fused
// multiply-add), so that all back ends that follow them step by step agree in every bit.

// Constants shared with the vectorised versions (backend/cpu), which perform the same operations lane by lane.
struct ExpConstants {
  // exp(x) = 2^n * exp(r), n = round(x / ln 2), |r| <= ln 2 / 2.
  static constexpr float kLow = -87.3f;  // below: exactly 0 (the result would come near the subnormals)
  static constexpr float kHigh = 88.3f;  // above: exp(kHigh), about 2.2e38; never infinite
  static constexpr float kLog2E = 1.44269504089f;
  static constexpr float kMagic =
      12582912.0f;  // 1.5 * 2^23: adding and subtracting it rounds to an integer, half to even
  static constexpr float kLn2High = 0.693359375f;    // 355/512: n * kLn2High is exact
  static constexpr float kLn2Low = -2.12194440e-4f;  // ln 2 - kLn2High
  // exp(r) = 1 + r + r^2 * (kC0 + kC1 r + ... + kC4 r^4), least maximum relative error, 3.1e-9 before rounding.
  static constexpr float kC0 = 0.4999999403953552f;
  static constexpr float kC1 = 0.1666652113199234f;
  static constexpr float kC2 = 0.04166838899254799f;
  static constexpr float kC3 = 0.00836874544620514f;
  static constexpr float kC4 = 0.0013814539415761828f;
};

// exp(x) within 2 ulp on [kLow, kHigh]; 0 below, exp(kHigh) above, NaN for NaN.
PHIDIAS_INLINE float Exp(float x) {
  using C = ExpConstants;
  float t = x < C::kHigh ? x : C::kHigh;
  t = t > C::kLow ? t : C::kLow;
  const float shifted = t * C::kLog2E + C::kMagic;
  const float n = shifted - C::kMagic;
  const float r = (t - n * C::kLn2High) - n * C::kLn2Low;
  float p = C::kC4;
  p = p * r + C::kC3;
  p = p * r + C::kC2;
  p = p * r + C::kC1;
  p = p * r + C::kC0;
  p = p * (r * r) + r;
  p = p + 1.0f;
  // The integer n stands in the low bits of `shifted`; the shift drops everything above.
  const float scale = FloatOf((BitsOf(shifted) << 23) + 0x3f800000u);
  const float result = p * scale;
  return x != x ? x : (x < C::kLow ? 0.0f : result);
}

struct GeluConstants {
  static constexpr float kCubic = 0.044715f;
  static constexpr float kMinusTwoRootTwoOverPi = -1.5957691216057308f;  // -2 sqrt(2 / pi)
};

// gelu_new(x) = 0.5 x (1 + tanh(u)), u = sqrt(2/pi) (x + 0.044715 x^3), in the equal form x / (1 + exp(-2u)): one
// exponential, one IEEE division, and no cancellation for negative x.
PHIDIAS_INLINE float GeluNew(float x) {
  const float cube = (x * x) * x;
  const float inner = x + GeluConstants::kCubic * cube;
  return x / (1.0f + Exp(GeluConstants::kMinusTwoRootTwoOverPi * inner));
}

// IEEE square root; x >= 0.
PHIDIAS_INLINE float Sqrt(float x) {
  return __builtin_sqrtf(x);
}

}  // namespace numerics
}  // namespace phidias
