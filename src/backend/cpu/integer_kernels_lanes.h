// The integer row operators, compiled once per instruction set by the kernels_ISA.cc files. Integer sums have no order,
// so plain loops over the specification's elements are mostly enough: the compiler widens them as far as the set
// allows.
#pragma once

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "backend/cpu/integer_kernels.h"

namespace phidias::cpu::PHIDIAS_ISA {
namespace {

void LayerNormS32(const int32_t* x, int64_t n, const ref::NormConstants& constants, int32_t* y) {
  int64_t sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    sum += x[i];
  }
  const int32_t mean = numerics::RowMean(sum, static_cast<int32_t>(n));
  uint64_t squares = constants.eps_term;
  for (int64_t i = 0; i < n; ++i) {
    const int64_t d = static_cast<int64_t>(x[i]) - mean;
    squares += static_cast<uint64_t>(d * d);
  }
  const numerics::NormStatistics row = {mean, numerics::InverseSquareRoot(squares)};
  const int32_t gain_shift = constants.gain_shift;
  const int32_t low = constants.low;
  const int32_t high = constants.high;
  const int32_t* gain = constants.gain;
  const int32_t* offset = constants.offset;
  for (int64_t i = 0; i < n; ++i) {
    y[i] = numerics::NormElement(x[i], row, gain[i], gain_shift, offset[i], low, high);
  }
}

// The layer's constants for `count` outputs from n on.
PHIDIAS_INLINE void RequantizeElements(const int32_t* acc, int64_t n, int64_t count, const ref::RequantizeConstants& c,
                                       int32_t* y) {
  for (int64_t i = n; i < n + count; ++i) {
    y[i] = numerics::RequantizeAcc(acc[i], c.bias[i], {c.multiplier[i], c.shift[i]}, c.zero_point, c.low, c.high);
  }
}

#if PHIDIAS_PART_BYTES >= 32
// Lanes of 64 bits; GCC 12 doesn't make them of the plain loop.
constexpr int kLongs = PHIDIAS_PART_BYTES / 8;
using Longs = int64_t __attribute__((vector_size(PHIDIAS_PART_BYTES)));
using UnsignedLongs = uint64_t __attribute__((vector_size(PHIDIAS_PART_BYTES)));
using HalfInts = int32_t __attribute__((vector_size(PHIDIAS_PART_BYTES / 2)));

PHIDIAS_INLINE Longs LoadLongs(const int32_t* at) {
  HalfInts ints;
  __builtin_memcpy(&ints, at, sizeof ints);
  return __builtin_convertvector(ints, Longs);
}

// a * b where both fit 32 bits.
PHIDIAS_INLINE Longs MultiplyInts(Longs a, Longs b) {
#if PHIDIAS_PART_BYTES == 64
  return (Longs)_mm512_mul_epi32((__m512i)a, (__m512i)b);
#else
  return (Longs)_mm256_mul_epi32((__m256i)a, (__m256i)b);
#endif
}

// numerics::ShiftRightHalfEven of |value| < 2^62 by 1..62, without the arithmetic shift of 64 bits that AVX2 lacks:
// 2^62 more makes every value positive.
PHIDIAS_INLINE Longs ShiftHalfEven(Longs value, UnsignedLongs shift) {
  const UnsignedLongs offset = UnsignedLongs{} + (uint64_t{1} << 62);
  const UnsignedLongs lifted = (UnsignedLongs)value + offset;
  const UnsignedLongs odd = ((lifted >> shift) ^ (offset >> shift)) & 1;
  const UnsignedLongs below_tie = ((UnsignedLongs{} + 1) << (shift - 1)) - 1;
  return (Longs)(((lifted + below_tie + odd) >> shift) - (offset >> shift));
}

void RequantizeRow(const int32_t* acc, int64_t n, const ref::RequantizeConstants& constants, int32_t* y) {
  const ref::RequantizeConstants c = constants;
  const Longs low = Longs{} + c.low;
  const Longs high = Longs{} + c.high;
  int64_t i = 0;
  for (; i + kLongs <= n; i += kLongs) {
    const Longs sum = LoadLongs(acc + i) + LoadLongs(c.bias + i);  // fits 32 bits by the contract
    Longs value = MultiplyInts(sum, LoadLongs(c.multiplier + i));
    value = ShiftHalfEven(value, (UnsignedLongs)LoadLongs(c.shift + i)) + c.zero_point;
    value = value < low ? low : value;
    value = value > high ? high : value;
    const HalfInts ints = __builtin_convertvector(value, HalfInts);
    __builtin_memcpy(y + i, &ints, sizeof ints);
  }
  RequantizeElements(acc, i, n - i, c, y);
}
#else
void RequantizeRow(const int32_t* acc, int64_t n, const ref::RequantizeConstants& constants, int32_t* y) {
  const ref::RequantizeConstants c = constants;
  RequantizeElements(acc, 0, n, c, y);
}
#endif

void RotaryS16(const int16_t* cos_row, const int16_t* sin_row, int64_t rotary_dim, int64_t head_dim, const int32_t* x,
               int8_t* q) {
  const int64_t half = rotary_dim / 2;
  for (int64_t i = 0; i < half; ++i) {
    int32_t low = 0;
    int32_t high = 0;
    numerics::RotateS16(cos_row[i], sin_row[i], x[i], x[i + half], &low, &high);
    q[i] = static_cast<int8_t>(low);
    q[i + half] = static_cast<int8_t>(high);
  }
  for (int64_t i = rotary_dim; i < head_dim; ++i) {
    q[i] = static_cast<int8_t>(numerics::NarrowS16(x[i]));
  }
}

void GeluS8(const int8_t* table, const int32_t* x, int64_t n, int8_t* y) {
  for (int64_t i = 0; i < n; ++i) {
    y[i] = table[x[i] + 128];
  }
}

int64_t AddResidualS32(const int32_t* attention, const int32_t* mlp, int64_t n, int32_t* x) {
  int32_t saturated = 0;
  for (int64_t i = 0; i < n; ++i) {
    const int64_t sum = static_cast<int64_t>(x[i]) + attention[i] + mlp[i];
    x[i] = numerics::Clamp(sum, -numerics::kResidualMax, numerics::kResidualMax);
    saturated += x[i] != sum ? 1 : 0;
  }
  return saturated;
}

}  // namespace
}  // namespace phidias::cpu::PHIDIAS_ISA
