#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "numerics/quantize.h"

namespace phidias {

// The constants of the `integer` arithmetic from the largest absolute values that its activations take.

// How fine the residual stream can count with six bits to spare below where it saturates.
inline int32_t ResidualShift(float absmax) {
  constexpr float kTop = 262144.0F;  // 2^18
  int32_t shift = 16;
  while (shift > 0 && std::ldexp(absmax, shift) > kTop) {
    --shift;
  }
  return shift;
}

// int16 has steps to spare, so what calibration didn't see may be larger.
inline float FinalNormScale(float absmax) {
  constexpr float kRoom = 1.05F;
  return std::max(absmax * kRoom / 32767.0F, numerics::kMinScale);
}

// Of a head's queries, keys or values.
inline float HeadScale(float absmax) {
  return std::max(absmax / 127.0F, numerics::kMinScale);
}

}  // namespace phidias
