#pragma once

#include <cstdint>

// The base of the arithmetic's specification (docs/numerics.md). Everything in numerics/ is C++14, header-only, and
// uses no library beyond <cstdint>, so that Vitis HLS takes it as it is. Functions are forced inline: object files
// compiled for different instruction sets include these headers, and a shared out-of-line copy could be the one for a
// larger set.
#define PHIDIAS_INLINE inline __attribute__((always_inline))

namespace phidias {
namespace numerics {

#ifdef __SYNTHESIS__
PHIDIAS_INLINE uint32_t BitsOf(float value) {
  union {
    float f;
    uint32_t u;
  } cast;
  cast.f = value;
  return cast.u;
}
PHIDIAS_INLINE float FloatOf(uint32_t bits) {
  union {
    float f;
    uint32_t u;
  } cast;
  cast.u = bits;
  return cast.f;
}
#else
PHIDIAS_INLINE uint32_t BitsOf(float value) {
  return __builtin_bit_cast(uint32_t, value);
}
PHIDIAS_INLINE float FloatOf(uint32_t bits) {
  return __builtin_bit_cast(float, bits);
}
#endif

// A subnormal becomes zero of the same sign. The FPGA's floating-point cores do this at every input and output, the
// CPU's threads by FTZ and DAZ (numerics/fp_mode.h); spelled out here for values that are copied without arithmetic.
PHIDIAS_INLINE float FlushSubnormal(float value) {
  const uint32_t bits = BitsOf(value);
  return (bits & 0x7f800000u) == 0 ? FloatOf(bits & 0x80000000u) : value;
}

}  // namespace numerics
}  // namespace phidias
