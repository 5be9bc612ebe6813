#pragma once

#include "numerics/elementary.h"
#include "numerics/integer.h"
#include "numerics/quantize.h"
#include "numerics/rotary.h"

namespace phidias {
namespace numerics {

// Constants of the `integer` arithmetic from real scales, made once on the host in float64 from +, -, *, / and the
// square root, so that every host makes the same. Not for synthesis.

// round(value), half away from zero, saturating at +-limit.
inline int64_t RoundDouble(double value, double limit) {
  const double clamped = value > limit ? limit : (value < -limit ? -limit : value);
  return static_cast<int64_t>(clamped + (clamped < 0 ? -0.5 : 0.5));
}

// factor >= 0 as multiplier * 2^-shift. Factors below 2^-32 become 0, factors of 2^29 and more saturate.
inline FixedFactor MakeFixedFactor(double factor) {
  int32_t shift = 31;  // multiplier = factor * 2^shift once the factor is in [0.5, 1)
  while (factor < 0.5 && shift < 63) {
    factor *= 2.0;
    ++shift;
  }
  while (factor >= 1.0 && shift > 2) {
    factor *= 0.5;
    --shift;
  }
  if (!(factor >= 0.5) || shift > 62) {
    return {0, 1};
  }
  const int64_t multiplier = RoundDouble(factor * 2147483648.0, 2147483648.0);
  if (multiplier > 0x7fffffff) {  // rounded up to 2^31 (or saturating)
    return {0x40000000, shift - 1};
  }
  return {static_cast<int32_t>(multiplier), shift};
}

// round(4095 * 2^16 * 2^(-i/256)).
inline void MakeExpTable(int32_t table[kExpTableSize]) {
  constexpr double kLn2 = 0.6931471805599453;
  for (int32_t i = 0; i < kExpTableSize; ++i) {
    const double power = ExpDouble(-kLn2 * i / kExpTableSize);
    table[i] = static_cast<int32_t>(RoundDouble(power * kProbabilityMax * (1 << kExpTableBits), 2147483647.0));
  }
}

// gelu_new on the int8 grid (in_scale, in_zero) of fc1's output, to the int8 grid of fc2's input; index q + 128.
inline void MakeGeluTable(float in_scale, int32_t in_zero, float out_scale, int32_t out_zero, int8_t table[256]) {
  const float inv_scale = 1.0f / out_scale;
  for (int32_t q = kS8Min; q <= kS8Max; ++q) {
    const float y = GeluNew(DequantizeS8(q, in_zero, in_scale));
    table[q + 128] = static_cast<int8_t>(QuantizeS8(y, inv_scale, static_cast<float>(out_zero)));
  }
}

// cos and sin in Q1.14.
inline void RotaryEntryQ14(int32_t pos, float inv_freq, int16_t* cos_out, int16_t* sin_out) {
  const SinCos value = SinCosDouble(static_cast<double>(static_cast<float>(pos) * inv_freq));
  *cos_out = static_cast<int16_t>(RoundDouble(value.cos * 16384.0, 16384.0));
  *sin_out = static_cast<int16_t>(RoundDouble(value.sin * 16384.0, 16384.0));
}

}  // namespace numerics
}  // namespace phidias
