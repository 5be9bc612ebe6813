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

// The parts are named members, not an array: GCC keeps arrays of vectors in memory, which made AVX2 25 times slower.
template <class T, int kCount>
struct PartsOf;
template <class T>
struct PartsOf<T, 1> {
  T p0;
};
template <class T>
struct PartsOf<T, 2> {
  T p0, p1;
};
template <class T>
struct PartsOf<T, 4> {
  T p0, p1, p2, p3;
};
using Lanes = PartsOf<Part, kParts>;
using IntLanes = PartsOf<PartInts, kParts>;

// fn applied to every part of the arguments, put together as an Out.
template <class Out, class Fn, class... In>
PHIDIAS_INLINE Out Each(Fn fn, const In&... in) {
  if constexpr (sizeof(Out) == PHIDIAS_PART_BYTES) {
    return Out{fn(in.p0...)};
  } else if constexpr (sizeof(Out) == 2 * PHIDIAS_PART_BYTES) {
    return Out{fn(in.p0...), fn(in.p1...)};
  } else {
    return Out{fn(in.p0...), fn(in.p1...), fn(in.p2...), fn(in.p3...)};
  }
}

template <class T>
PHIDIAS_INLINE T LoadPart(const void* at, int index) {
  T part;
  __builtin_memcpy(&part, static_cast<const char*>(at) + index * static_cast<int>(sizeof part), sizeof part);
  return part;
}

template <class Out, class T>
PHIDIAS_INLINE Out LoadParts(const void* at) {
  if constexpr (sizeof(Out) == PHIDIAS_PART_BYTES) {
    return Out{LoadPart<T>(at, 0)};
  } else if constexpr (sizeof(Out) == 2 * PHIDIAS_PART_BYTES) {
    return Out{LoadPart<T>(at, 0), LoadPart<T>(at, 1)};
  } else {
    return Out{LoadPart<T>(at, 0), LoadPart<T>(at, 1), LoadPart<T>(at, 2), LoadPart<T>(at, 3)};
  }
}

PHIDIAS_INLINE Lanes Load(const void* at) {
  return LoadParts<Lanes, Part>(at);
}
PHIDIAS_INLINE IntLanes LoadInts(const int32_t* at) {
  return LoadParts<IntLanes, PartInts>(at);
}
PHIDIAS_INLINE void Store(const Lanes& lanes, void* at) {
  __builtin_memcpy(at, &lanes, sizeof lanes);
}

// The first `count` (0..15) lanes from memory, +0 in the others.
PHIDIAS_INLINE Lanes LoadPartial(const void* at, int64_t count) {
#if PHIDIAS_PART_BYTES == 64
  return Lanes{(Part)_mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << count) - 1u), at)};
#else
  float buffer[kLanes] = {};
  __builtin_memcpy(buffer, at, static_cast<size_t>(count) * sizeof(float));
  return Load(buffer);
#endif
}
PHIDIAS_INLINE void StorePartial(const Lanes& lanes, void* at, int64_t count) {
#if PHIDIAS_PART_BYTES == 64
  _mm512_mask_storeu_ps(at, static_cast<__mmask16>((1u << count) - 1u), (__m512)lanes.p0);
#else
  float buffer[kLanes];
  Store(lanes, buffer);
  __builtin_memcpy(at, buffer, static_cast<size_t>(count) * sizeof(float));
#endif
}

PHIDIAS_INLINE Lanes Splat(float value) {
  // Minus zero changes no value, and no instruction is needed for it (plus zero would turn -0 into 0).
  return Each<Lanes>([value](Part zero) { return value - zero; }, Lanes{});
}

PHIDIAS_INLINE Lanes operator+(const Lanes& a, const Lanes& b) {
  return Each<Lanes>([](Part x, Part y) { return x + y; }, a, b);
}
PHIDIAS_INLINE Lanes operator-(const Lanes& a, const Lanes& b) {
  return Each<Lanes>([](Part x, Part y) { return x - y; }, a, b);
}
PHIDIAS_INLINE Lanes operator*(const Lanes& a, const Lanes& b) {
  return Each<Lanes>([](Part x, Part y) { return x * y; }, a, b);
}
PHIDIAS_INLINE Lanes operator/(const Lanes& a, const Lanes& b) {
  return Each<Lanes>([](Part x, Part y) { return x / y; }, a, b);
}
// a > b ? a : b, the contract's maximum: b where either is NaN.
PHIDIAS_INLINE Lanes Max(const Lanes& a, const Lanes& b) {
  return Each<Lanes>([](Part x, Part y) { return x > y ? x : y; }, a, b);
}
PHIDIAS_INLINE Lanes Min(const Lanes& a, const Lanes& b) {
  return Each<Lanes>([](Part x, Part y) { return x < y ? x : y; }, a, b);
}
// low where x < bound, else other.
PHIDIAS_INLINE Lanes SelectLess(const Lanes& x, const Lanes& bound, const Lanes& low, const Lanes& other) {
  return Each<Lanes>([](Part v, Part limit, Part a, Part b) { return v < limit ? a : b; }, x, bound, low, other);
}
// x where it is NaN, else other.
PHIDIAS_INLINE Lanes KeepNan(const Lanes& x, const Lanes& other) {
  // A comparison of a value with itself is how a vector says NaN.
  return Each<Lanes>([](Part v, Part b) { return v != v ? v : b; }, x, other);  // NOLINT(misc-redundant-expression)
}
// The float 2^n, n being the integer in the low bits of `shifted` (numerics::Exp).
PHIDIAS_INLINE Lanes PowerOfTwo(const Lanes& shifted) {
  return Each<Lanes>([](Part v) { return (Part)(((PartBits)v << 23) + 0x3f800000u); }, shifted);
}
// Half to even, as the processor's conversion does.
PHIDIAS_INLINE Lanes ToFloat(const IntLanes& a) {
  return Each<Lanes>([](PartInts v) { return __builtin_convertvector(v, Part); }, a);
}
// The nearest integers, ties to even, of lanes in [-2^22, 2^22]: adding 1.5 * 2^23 leaves them in the low bits.
PHIDIAS_INLINE IntLanes RoundHalfEven(const Lanes& a) {
  return Each<IntLanes>([](Part v) { return (PartInts)(v + 12582912.0F) - 0x4b400000; }, a);
}

// numerics::TreeSum.
PHIDIAS_INLINE float TreeSum(const Lanes& lanes) {
#if PHIDIAS_PART_BYTES == 64
  const __m512 all = (__m512)lanes.p0;
  const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(all), _mm512_extractf32x8_ps(all, 1));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
#elif PHIDIAS_PART_BYTES == 32
  const __m256 eight = _mm256_add_ps((__m256)lanes.p0, (__m256)lanes.p1);
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
#else
  const Part four = (lanes.p0 + lanes.p2) + (lanes.p1 + lanes.p3);
#endif
  // Element access, not shuffles: the compiler picks the target's own.
  const float even = four[0] + four[2];
  const float odd = four[1] + four[3];
  return even + odd;
}

// Shuffles within the 128-bit blocks of two parts: elements 0 1, 2 3, 0 2 and 1 3 of a's block, then of b's.
PHIDIAS_INLINE Part Lows(Part a, Part b) {
#if PHIDIAS_PART_BYTES == 64
  return (Part)_mm512_shuffle_ps((__m512)a, (__m512)b, 0x44);
#elif PHIDIAS_PART_BYTES == 32
  return (Part)_mm256_shuffle_ps((__m256)a, (__m256)b, 0x44);
#else
  return __builtin_shufflevector(a, b, 0, 1, 4, 5);
#endif
}
PHIDIAS_INLINE Part Highs(Part a, Part b) {
#if PHIDIAS_PART_BYTES == 64
  return (Part)_mm512_shuffle_ps((__m512)a, (__m512)b, 0xee);
#elif PHIDIAS_PART_BYTES == 32
  return (Part)_mm256_shuffle_ps((__m256)a, (__m256)b, 0xee);
#else
  return __builtin_shufflevector(a, b, 2, 3, 6, 7);
#endif
}
PHIDIAS_INLINE Part Evens(Part a, Part b) {
#if PHIDIAS_PART_BYTES == 64
  return (Part)_mm512_shuffle_ps((__m512)a, (__m512)b, 0x88);
#elif PHIDIAS_PART_BYTES == 32
  return (Part)_mm256_shuffle_ps((__m256)a, (__m256)b, 0x88);
#else
  return __builtin_shufflevector(a, b, 0, 2, 4, 6);
#endif
}
PHIDIAS_INLINE Part Odds(Part a, Part b) {
#if PHIDIAS_PART_BYTES == 64
  return (Part)_mm512_shuffle_ps((__m512)a, (__m512)b, 0xdd);
#elif PHIDIAS_PART_BYTES == 32
  return (Part)_mm256_shuffle_ps((__m256)a, (__m256)b, 0xdd);
#else
  return __builtin_shufflevector(a, b, 1, 3, 5, 7);
#endif
}

// The first two folds of TreeSum (16 -> 8 -> 4) of as many sums as a part has 128-bit blocks: the sum of x[4 * b] stays
// in block b. x is every fourth of 16 (or the next 4 / 8) sums, so that the last folds leave them in order.
PHIDIAS_INLINE Part FoldToQuads(const Lanes* x) {
#if PHIDIAS_PART_BYTES == 64
  const auto a = (__m512)x[0].p0;
  const auto b = (__m512)x[4].p0;
  const auto c = (__m512)x[8].p0;
  const auto d = (__m512)x[12].p0;
  const __m512 ab = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
  const __m512 cd = _mm512_add_ps(_mm512_shuffle_f32x4(c, d, 0x44), _mm512_shuffle_f32x4(c, d, 0xee));
  return (Part)_mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xdd));
#elif PHIDIAS_PART_BYTES == 32
  const auto a = (__m256)(x[0].p0 + x[0].p1);
  const auto b = (__m256)(x[4].p0 + x[4].p1);
  return (Part)_mm256_add_ps(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31));
#else
  return (x[0].p0 + x[0].p2) + (x[0].p1 + x[0].p3);
#endif
}

// As many TreeSums as a part has lanes, in order.
PHIDIAS_INLINE Part PartOfTreeSums(const Lanes* x) {
  const Part q0 = FoldToQuads(x);
  const Part q1 = FoldToQuads(x + 1);
  const Part q2 = FoldToQuads(x + 2);
  const Part q3 = FoldToQuads(x + 3);
  const Part q01 = Lows(q0, q1) + Highs(q0, q1);
  const Part q23 = Lows(q2, q3) + Highs(q2, q3);
  return Evens(q01, q23) + Odds(q01, q23);
}

// Lane i is TreeSum(x[i]): sixteen at once, by transposing as they fold, for the price of about three.
PHIDIAS_INLINE Lanes TreeSums(const Lanes (&x)[kLanes]) {
#if PHIDIAS_PART_BYTES == 64
  return Lanes{PartOfTreeSums(x)};
#elif PHIDIAS_PART_BYTES == 32
  return Lanes{PartOfTreeSums(x), PartOfTreeSums(x + 8)};
#else
  return Lanes{PartOfTreeSums(x), PartOfTreeSums(x + 4), PartOfTreeSums(x + 8), PartOfTreeSums(x + 12)};
#endif
}

#if PHIDIAS_PART_BYTES == 16
using EightHalves = uint16_t __attribute__((vector_size(16)));

// Four halves, each in the upper 16 bits: numerics::HalfToFloat where none is subnormal, infinite or NaN (zeros are
// none of these here).
PHIDIAS_INLINE Part NormalHalves(PartBits high) {
  const auto shifted = (PartBits)((PartInts)high >> 3) & 0x8fffe000u;
  return (Part)(shifted + ((PartBits)((shifted << 1) != 0u) & 0x38000000u));
}

// The same for any halves. A subnormal one is fraction * 2^-24, made as (1 + fraction / 1024) * 2^-14 - 2^-14: exact,
// and of normal floats alone. A signalling NaN stays one; the arithmetic that follows makes it quiet.
PHIDIAS_INLINE Part AnyHalves(PartBits high) {
  const PartBits magnitude = (high & 0x7fff0000u) >> 3;
  const auto small = (PartBits)((Part)(magnitude + 0x38800000u) - 6.103515625e-05F);
  const auto is_small = (PartBits)(magnitude < 0x00800000u);
  const auto is_special = (PartBits)(magnitude > 0x0f7fffffu);
  const PartBits large = magnitude + 0x38000000u + (is_special & 0x38000000u);
  return (Part)((small & is_small) | (large & ~is_small) | (high & 0x80000000u));
}

// Whether all eight are normal or zero.
PHIDIAS_INLINE bool AllNormal(EightHalves halves) {
  using Signed = int16_t __attribute__((vector_size(16)));
  using Wide = uint64_t __attribute__((vector_size(16)));
  const auto magnitude = (Signed)(halves & uint16_t{0x7fff});
  const auto odd = (Wide)(((magnitude < 0x400) & (magnitude != 0)) | (magnitude > 0x7bff));
  return (odd[0] | odd[1]) == 0;
}
#endif

PHIDIAS_INLINE Lanes LoadF16(const std::byte* at) {
#if PHIDIAS_PART_BYTES == 64
  return Lanes{(Part)_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)))};
#elif PHIDIAS_PART_BYTES == 32
  return Lanes{(Part)_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at))),
               (Part)_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at + 16)))};
#else
  const auto first = LoadPart<EightHalves>(at, 0);
  const auto second = LoadPart<EightHalves>(at, 1);
  const EightHalves zero = {};
  const auto low = [zero](EightHalves v) {
    return (PartBits)__builtin_shufflevector(zero, v, 0, 8, 1, 9, 2, 10, 3, 11);
  };
  const auto high = [zero](EightHalves v) {
    return (PartBits)__builtin_shufflevector(zero, v, 4, 12, 5, 13, 6, 14, 7, 15);
  };
  if (AllNormal(first) && AllNormal(second)) {
    return Lanes{NormalHalves(low(first)), NormalHalves(high(first)), NormalHalves(low(second)),
                 NormalHalves(high(second))};
  }
  return Lanes{AnyHalves(low(first)), AnyHalves(high(first)), AnyHalves(low(second)), AnyHalves(high(second))};
#endif
}

// 16 halves, rounded half to even: numerics::FloatToHalf.
PHIDIAS_INLINE void StoreF16(const Lanes& lanes, std::byte* at) {
#if PHIDIAS_PART_BYTES == 64
  const __m256i halves = _mm512_cvtps_ph((__m512)lanes.p0, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(at), halves);
#elif PHIDIAS_PART_BYTES == 32
  constexpr int kMode = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  _mm_storeu_si128(reinterpret_cast<__m128i*>(at), _mm256_cvtps_ph((__m256)lanes.p0, kMode));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(at + 16), _mm256_cvtps_ph((__m256)lanes.p1, kMode));
#else
  float floats[kLanes];
  Store(lanes, floats);
  for (int i = 0; i < kLanes; ++i) {
    const uint16_t half = numerics::FloatToHalf(floats[i]);
    __builtin_memcpy(at + 2 * i, &half, sizeof half);
  }
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

}  // namespace
}  // namespace phidias::cpu::PHIDIAS_ISA
