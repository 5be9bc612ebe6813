#pragma once

#include "numerics/bits.h"

namespace phidias {
namespace numerics {

// The nearest integer, ties to even. |value| < 2^31; written in integer operations so that no tool's rounding mode or
// rounding function can differ. NaN gives 0.
PHIDIAS_INLINE int32_t RoundHalfEven(float value) {
  const uint32_t bits = BitsOf(value);
  const int32_t exponent = static_cast<int32_t>((bits >> 23) & 0xffu) - 127;
  if (exponent < -1 || exponent == 128) {
    return 0;
  }
  const uint32_t significand = (bits & 0x7fffffu) | 0x800000u;
  uint32_t magnitude = 0;
  if (exponent >= 23) {
    magnitude = significand << (exponent - 23);
  } else {
    const uint32_t shift = static_cast<uint32_t>(23 - exponent);
    const uint32_t rest = significand & ((1u << shift) - 1u);
    const uint32_t tie = 1u << (shift - 1u);
    magnitude = significand >> shift;
    magnitude += (rest > tie || (rest == tie && (magnitude & 1u) != 0)) ? 1u : 0u;
  }
  const int32_t result = static_cast<int32_t>(magnitude);
  return (bits >> 31) != 0 ? -result : result;
}

// value / 2^shift, ties to even. 0 <= shift <= 62.
PHIDIAS_INLINE int64_t ShiftRightHalfEven(int64_t value, int32_t shift) {
  if (shift == 0) {
    return value;
  }
  const int64_t floor = value >> shift;
  const int64_t rest = value - (floor << shift);
  const int64_t tie = static_cast<int64_t>(1) << (shift - 1);
  return floor + ((rest > tie || (rest == tie && (floor & 1) != 0)) ? 1 : 0);
}

}  // namespace numerics
}  // namespace phidias
