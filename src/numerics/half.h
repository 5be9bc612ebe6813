#pragma once

#include "numerics/bits.h"

namespace phidias {
namespace numerics {

// IEEE binary16 to float32: exact. Subnormal halves are normal floats and keep their value (as F16C does, whatever DAZ
// says); NaNs keep their payload and become quiet.
PHIDIAS_INLINE float HalfToFloat(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16;
  const uint32_t exponent = (half >> 10) & 0x1fu;
  const uint32_t fraction = half & 0x3ffu;
  if (exponent == 0x1fu) {
    return FloatOf(sign | 0x7f800000u | (fraction << 13) | (fraction != 0 ? 0x400000u : 0u));
  }
  if (exponent != 0) {
    return FloatOf(sign | ((exponent + 112u) << 23) | (fraction << 13));
  }
  // fraction * 2^-24, without relying on subnormal arithmetic: 2^-24 is a normal float.
  const float magnitude = static_cast<float>(static_cast<int32_t>(fraction)) * 5.9604644775390625e-8f;
  return FloatOf(sign | BitsOf(magnitude));
}

// float32 to IEEE binary16, half to even; overflow gives infinity, NaN stays a quiet NaN, subnormal halves are
// produced.
PHIDIAS_INLINE uint16_t FloatToHalf(float value) {
  const uint32_t bits = BitsOf(value);
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) {
    return static_cast<uint16_t>(sign | 0x7e00u | ((magnitude >> 13) & 0x3ffu));
  }
  if (magnitude >= 0x477ff000u) {  // 65520 and more round to infinity
    return static_cast<uint16_t>(sign | 0x7c00u);
  }
  if (magnitude >= 0x38800000u) {  // normal halves: round at bit 13
    const uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
    return static_cast<uint16_t>(sign | ((rounded - 0x38000000u) >> 13));
  }
  if (magnitude < 0x33000000u) {  // below half of 2^-24; 2^-25 itself is a tie and goes to even below
    return static_cast<uint16_t>(sign);
  }
  const uint32_t shift = 126u - (magnitude >> 23);  // 14..24
  const uint32_t significand = (magnitude & 0x7fffffu) | 0x800000u;
  const uint32_t quotient = significand >> shift;
  const uint32_t rest = significand & ((1u << shift) - 1u);
  const uint32_t tie = 1u << (shift - 1u);
  const uint32_t up = (rest > tie || (rest == tie && (quotient & 1u) != 0)) ? 1u : 0u;
  return static_cast<uint16_t>(sign | (quotient + up));
}

// bfloat16 to float32: exact (a subnormal bfloat16 is a subnormal float, which arithmetic then flushes).
PHIDIAS_INLINE float Bfloat16ToFloat(uint16_t value) {
  return FloatOf(static_cast<uint32_t>(value) << 16);
}

// float32 to bfloat16, half to even; NaN stays a quiet NaN.
PHIDIAS_INLINE uint16_t FloatToBfloat16(float value) {
  const uint32_t bits = BitsOf(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) {
    return static_cast<uint16_t>((bits >> 16) | 0x40u);
  }
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

}  // namespace numerics
}  // namespace phidias
