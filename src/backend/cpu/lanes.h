// Sixteen float lanes, the contract's reduction width, as one 512-bit register, two of 256 or four of 128. Included by
// the kernels_ISA.cc files only, each of which defines PHIDIAS_PART_BYTES and the namespace PHIDIAS_ISA before; so no
// include guard against use in another instruction set is needed, and nothing here may have external linkage.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "numerics/half.h"
#include "numerics/reduce.h"

namespace phidias::cpu::PHIDIAS_ISA {
namespace {

constexpr int kLanes = numerics::kLanes;
constexpr int kParts = 64 / PHIDIAS_PART_BYTES;
constexpr int kPartLanes = kLanes / kParts;

using Part = float __attribute__((vector_size(PHIDIAS_PART_BYTES)));
using PartBits = uint32_t __attribute__((vector_size(PHIDIAS_PART_BYTES)));
using PartInts = int32_t __attribute__((vector_size(PHIDIAS_PART_BYTES)));

struct Lanes {
  Part part[kParts];
};

struct IntLanes {
  PartInts part[kParts];
};

#define PHIDIAS_EACH_PART(expression) \
  Lanes out;                          \
  for (int i = 0; i < kParts; ++i) {  \
    out.part[i] = (expression);       \
  }                                   \
  return out

PHIDIAS_INLINE Lanes Splat(float value) {
  PHIDIAS_EACH_PART(Part{} + value);
}
PHIDIAS_INLINE Lanes operator+(const Lanes& a, const Lanes& b) {
  PHIDIAS_EACH_PART(a.part[i] + b.part[i]);
}
PHIDIAS_INLINE Lanes operator-(const Lanes& a, const Lanes& b) {
  PHIDIAS_EACH_PART(a.part[i] - b.part[i]);
}
PHIDIAS_INLINE Lanes operator*(const Lanes& a, const Lanes& b) {
  PHIDIAS_EACH_PART(a.part[i] * b.part[i]);
}
PHIDIAS_INLINE Lanes operator/(const Lanes& a, const Lanes& b) {
  PHIDIAS_EACH_PART(a.part[i] / b.part[i]);
}
// a > b ? a : b, the contract's maximum: b where either is NaN.
PHIDIAS_INLINE Lanes Max(const Lanes& a, const Lanes& b) {
  PHIDIAS_EACH_PART(a.part[i] > b.part[i] ? a.part[i] : b.part[i]);
}
PHIDIAS_INLINE Lanes Min(const Lanes& a, const Lanes& b) {
  PHIDIAS_EACH_PART(a.part[i] < b.part[i] ? a.part[i] : b.part[i]);
}
// low where x < bound, else other.
PHIDIAS_INLINE Lanes SelectLess(const Lanes& x, const Lanes& bound, const Lanes& low, const Lanes& other) {
  PHIDIAS_EACH_PART(x.part[i] < bound.part[i] ? low.part[i] : other.part[i]);
}
// x where it is NaN, else other.
PHIDIAS_INLINE Lanes KeepNan(const Lanes& x, const Lanes& other) {
  PHIDIAS_EACH_PART(x.part[i] != x.part[i] ? x.part[i] : other.part[i]);
}
// The float 2^n, n being the integer in the low bits of `shifted` (numerics::Exp).
PHIDIAS_INLINE Lanes PowerOfTwo(const Lanes& shifted) {
  PHIDIAS_EACH_PART((Part)(((PartBits)shifted.part[i] << 23) + 0x3f800000u));
}

PHIDIAS_INLINE Lanes Load(const void* at) {
  Lanes out;
  __builtin_memcpy(&out, at, sizeof out);
  return out;
}
PHIDIAS_INLINE void Store(const Lanes& lanes, void* at) {
  __builtin_memcpy(at, &lanes, sizeof lanes);
}
// The first `count` (0..15) lanes from memory, +0 in the others.
PHIDIAS_INLINE Lanes LoadPartial(const void* at, int64_t count) {
  float buffer[kLanes] = {};
  __builtin_memcpy(buffer, at, static_cast<size_t>(count) * sizeof(float));
  return Load(buffer);
}
PHIDIAS_INLINE void StorePartial(const Lanes& lanes, void* at, int64_t count) {
  float buffer[kLanes];
  Store(lanes, buffer);
  __builtin_memcpy(at, buffer, static_cast<size_t>(count) * sizeof(float));
}

// numerics::TreeSum.
PHIDIAS_INLINE float TreeSum(const Lanes& lanes) {
#if defined(__AVX512F__)
  const __m512 all = (__m512)lanes.part[0];
  const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(all), _mm512_extractf32x8_ps(all, 1));
#elif defined(__AVX2__)
  const __m256 eight = _mm256_add_ps((__m256)lanes.part[0], (__m256)lanes.part[1]);
#endif
#if defined(__AVX2__)
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
#else
  float buffer[kLanes];
  Store(lanes, buffer);
  return numerics::TreeSum(buffer);
#endif
}

PHIDIAS_INLINE Lanes LoadF16(const std::byte* at) {
#if defined(__AVX512F__)
  Lanes out;
  out.part[0] = (Part)_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)));
  return out;
#elif defined(__F16C__) && PHIDIAS_PART_BYTES == 32
  Lanes out;
  out.part[0] = (Part)_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at)));
  out.part[1] = (Part)_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at + 16)));
  return out;
#else
  uint16_t halves[kLanes];
  float floats[kLanes];
  __builtin_memcpy(halves, at, sizeof halves);
  for (int i = 0; i < kLanes; ++i) {
    floats[i] = numerics::HalfToFloat(halves[i]);
  }
  return Load(floats);
#endif
}

PHIDIAS_INLINE Lanes LoadBf16(const std::byte* at) {
  uint16_t values[kLanes];
  uint32_t bits[kLanes];
  __builtin_memcpy(values, at, sizeof values);
  for (int i = 0; i < kLanes; ++i) {
    bits[i] = static_cast<uint32_t>(values[i]) << 16;
  }
  return Load(bits);
}

// Half of a Q8_0 block: 16 int8 at `quants` times the block's scale.
PHIDIAS_INLINE Lanes LoadQ8(const std::byte* quants, float scale) {
  int8_t values[kLanes];
  float floats[kLanes];
  __builtin_memcpy(values, quants, sizeof values);
  for (int i = 0; i < kLanes; ++i) {
    floats[i] = static_cast<float>(values[i]);
  }
  return Load(floats) * Splat(scale);
}

PHIDIAS_INLINE IntLanes LoadInts(const int32_t* at) {
  IntLanes out;
  __builtin_memcpy(&out, at, sizeof out);
  return out;
}

// Half to even, as the processor's conversion does.
PHIDIAS_INLINE Lanes ToFloat(const IntLanes& a) {
  PHIDIAS_EACH_PART(__builtin_convertvector(a.part[i], Part));
}

// The nearest integers, ties to even, of lanes in [-2^22, 2^22]: adding 1.5 * 2^23 leaves them in the low bits.
PHIDIAS_INLINE IntLanes RoundHalfEven(const Lanes& a) {
  IntLanes out;
  for (int i = 0; i < kParts; ++i) {
    out.part[i] = (PartInts)(a.part[i] + 12582912.0F) - 0x4b400000;
  }
  return out;
}

#undef PHIDIAS_EACH_PART

}  // namespace
}  // namespace phidias::cpu::PHIDIAS_ISA
