// The `integer` attention, compiled once per instruction set by the kernels_ISA.cc files: pairs of 16-bit products are
// summed by one instruction (vpmaddwd) where there is one. Sums of integers have no order, so rows that end earlier
// than others simply get probabilities of zero.
#pragma once

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "backend/cpu/attention_s8.h"
#include "backend/cpu/integer_kernels_lanes.h"

namespace phidias::cpu::PHIDIAS_ISA {
namespace {

// kInts int32 lanes, each the sum of two products of 16-bit numbers.
#if PHIDIAS_PART_BYTES == 64
constexpr int kInts = 16;
using Shorts = __m512i;
using Ints = __m512i;
PHIDIAS_INLINE Ints ZeroInts() {
  return _mm512_setzero_si512();
}
PHIDIAS_INLINE Shorts Widen(const int8_t* at) {
  return _mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)));
}
PHIDIAS_INLINE Shorts RepeatPair(int32_t pair) {
  return _mm512_set1_epi32(pair);
}
PHIDIAS_INLINE Shorts RepeatFour(int64_t four) {
  return _mm512_set1_epi64(four);
}
PHIDIAS_INLINE Ints MultiplyAdd(const Ints& acc, const Shorts& a, const Shorts& b) {
  return _mm512_add_epi32(acc, _mm512_madd_epi16(a, b));
}
// Sums of neighbours: of low's lanes, then of high's.
PHIDIAS_INLINE Ints SumNeighbours(const Ints& low, const Ints& high) {
  const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  const __m512i odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
  return _mm512_add_epi32(_mm512_permutex2var_epi32(low, even, high), _mm512_permutex2var_epi32(low, odd, high));
}
PHIDIAS_INLINE void StoreInts(const Ints& ints, int32_t* at) {
  _mm512_storeu_si512(at, ints);
}
#elif PHIDIAS_PART_BYTES == 32
constexpr int kInts = 8;
using Shorts = __m256i;
using Ints = __m256i;
PHIDIAS_INLINE Ints ZeroInts() {
  return _mm256_setzero_si256();
}
PHIDIAS_INLINE Shorts Widen(const int8_t* at) {
  return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at)));
}
PHIDIAS_INLINE Shorts RepeatPair(int32_t pair) {
  return _mm256_set1_epi32(pair);
}
PHIDIAS_INLINE Shorts RepeatFour(int64_t four) {
  return _mm256_set1_epi64x(four);
}
PHIDIAS_INLINE Ints MultiplyAdd(const Ints& acc, const Shorts& a, const Shorts& b) {
  return _mm256_add_epi32(acc, _mm256_madd_epi16(a, b));
}
PHIDIAS_INLINE Ints SumNeighbours(const Ints& low, const Ints& high) {
  return _mm256_permute4x64_epi64(_mm256_hadd_epi32(low, high), 0xd8);
}
PHIDIAS_INLINE void StoreInts(const Ints& ints, int32_t* at) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(at), ints);
}
#else
constexpr int kInts = 4;
struct Shorts {
  int16_t v[2 * kInts];
};
struct Ints {
  int32_t v[kInts];
};
PHIDIAS_INLINE Ints ZeroInts() {
  return {};
}
PHIDIAS_INLINE Shorts Widen(const int8_t* at) {
  Shorts out;
  for (int i = 0; i < 2 * kInts; ++i) {
    out.v[i] = at[i];
  }
  return out;
}
PHIDIAS_INLINE Shorts RepeatPair(int32_t pair) {
  Shorts out;
  for (int i = 0; i < 2 * kInts; i += 2) {
    __builtin_memcpy(out.v + i, &pair, sizeof pair);
  }
  return out;
}
PHIDIAS_INLINE Shorts RepeatFour(int64_t four) {
  Shorts out;
  for (int i = 0; i < 2 * kInts; i += 4) {
    __builtin_memcpy(out.v + i, &four, sizeof four);
  }
  return out;
}
PHIDIAS_INLINE Ints MultiplyAdd(const Ints& acc, const Shorts& a, const Shorts& b) {
  Ints out;
  for (int i = 0; i < kInts; ++i) {
    out.v[i] = acc.v[i] + a.v[2 * i] * b.v[2 * i] + a.v[2 * i + 1] * b.v[2 * i + 1];
  }
  return out;
}
PHIDIAS_INLINE Ints SumNeighbours(const Ints& low, const Ints& high) {
  Ints out;
  for (int i = 0; i < kInts / 2; ++i) {
    out.v[i] = low.v[2 * i] + low.v[2 * i + 1];
    out.v[i + kInts / 2] = high.v[2 * i] + high.v[2 * i + 1];
  }
  return out;
}
PHIDIAS_INLINE void StoreInts(const Ints& ints, int32_t* at) {
  __builtin_memcpy(at, &ints, sizeof ints);
}
#endif

// scores[m][0..kInts) = q_m . k for kM rows (16-bit, `q_stride` apart) and the kInts keys at `keys`, a part of a block.
template <int kM>
PHIDIAS_INLINE void ScoresS8(const int16_t* q, int64_t q_stride, const int8_t* keys, int64_t key_dim, int32_t* scores,
                             int64_t scores_stride) {
  Ints low[kM];
  Ints high[kM];
#pragma GCC unroll 4
  for (int m = 0; m < kM; ++m) {
    low[m] = ZeroInts();
    high[m] = ZeroInts();
  }
  for (int64_t i = 0; i < key_dim; i += 4) {
    const int8_t* at = keys + i * kKeyBlock;
    const Shorts first = Widen(at);
    const Shorts second = Widen(at + 2 * kInts);
#pragma GCC unroll 4
    for (int m = 0; m < kM; ++m) {
      int64_t four = 0;
      __builtin_memcpy(&four, q + m * q_stride + i, sizeof four);
      const Shorts x = RepeatFour(four);
      low[m] = MultiplyAdd(low[m], x, first);
      high[m] = MultiplyAdd(high[m], x, second);
    }
  }
#pragma GCC unroll 4
  for (int m = 0; m < kM; ++m) {
    StoreInts(SumNeighbours(low[m], high[m]), scores + m * scores_stride);
  }
}

// acc[m][0..kG * kInts) = sum_j p_mj v_j over `count` positions (an even number).
template <int kM, int kG>
PHIDIAS_INLINE void ValuesS8(const int16_t* p, int64_t p_stride, const int8_t* values, int64_t value_dim, int64_t count,
                             int32_t* acc, int64_t acc_stride) {
  Ints sums[kM][kG];
#pragma GCC unroll 8
  for (int m = 0; m < kM; ++m) {
#pragma GCC unroll 8
    for (int g = 0; g < kG; ++g) {
      sums[m][g] = ZeroInts();
    }
  }
  for (int64_t j = 0; j < count; j += 2) {
    Shorts v[kG];
#pragma GCC unroll 8
    for (int g = 0; g < kG; ++g) {
      v[g] = Widen(values + j * value_dim + 2 * g * kInts);
    }
#pragma GCC unroll 8
    for (int m = 0; m < kM; ++m) {
      int32_t pair = 0;
      __builtin_memcpy(&pair, p + m * p_stride + j, sizeof pair);
      const Shorts weights = RepeatPair(pair);
#pragma GCC unroll 8
      for (int g = 0; g < kG; ++g) {
        sums[m][g] = MultiplyAdd(sums[m][g], weights, v[g]);
      }
    }
  }
#pragma GCC unroll 8
  for (int m = 0; m < kM; ++m) {
#pragma GCC unroll 8
    for (int g = 0; g < kG; ++g) {
      StoreInts(sums[m][g], acc + m * acc_stride + g * kInts);
    }
  }
}

// ref::Probabilities as 16-bit numbers, zeros from count to `padded`. Overwrites the scores.
PHIDIAS_INLINE int32_t ProbabilitiesS16(int32_t* scores, int64_t count, int64_t padded, numerics::FixedFactor to_steps,
                                        const int16_t* table, int16_t* p) {
  int32_t max = scores[0];
  for (int64_t j = 1; j < count; ++j) {
    max = scores[j] > max ? scores[j] : max;
  }
  for (int64_t j = 0; j < count; ++j) {
    const int64_t steps = numerics::MultiplyFixed(max - scores[j], to_steps);
    scores[j] = static_cast<int32_t>(steps < kProbabilitySteps ? steps : kProbabilitySteps);
  }
  int32_t sum = 0;
  for (int64_t j = 0; j < count; ++j) {
    p[j] = table[scores[j]];
    sum += p[j];
  }
  for (int64_t j = count; j < padded; ++j) {
    p[j] = 0;
  }
  return sum;
}

// numerics::AttentionElement of a row. Overwrites acc: a loop from int32 to int32 becomes vectors, one that writes int8
// (which may alias anything) doesn't.
PHIDIAS_INLINE void FinishRowS8(int32_t* acc, int64_t head_dim, int32_t sum, const ref::AttentionConstants& constants,
                                int8_t* out) {
  const numerics::FixedFactor inverse_sum = numerics::InverseSum(sum);
  const numerics::FixedFactor ratio = constants.ratio;
  const int32_t zero_point = constants.zero_point;
  for (int64_t i = 0; i < head_dim; ++i) {
    acc[i] = numerics::AttentionElement(acc[i], inverse_sum, ratio, zero_point);
  }
  for (int64_t i = 0; i < head_dim; ++i) {
    out[i] = static_cast<int8_t>(acc[i]);
  }
}

template <int kM>
void AttendRowsS8(const AttentionS8Args& args, const AttentionRowS8* rows) {
  constexpr int kGroups = PHIDIAS_VALUE_GROUPS_S8;
  int64_t longest = 0;
  for (int m = 0; m < kM; ++m) {
    longest = rows[m].count > longest ? rows[m].count : longest;
  }
  const int64_t positions = PaddedPositions(longest);
  const int64_t key_dim = KeyDim(args.head_dim);
  const int64_t value_dim = ValueDim(args.head_dim);
  int32_t* scores = args.scratch;
  int32_t* acc = scores + kM * positions;
  auto* p = reinterpret_cast<int16_t*>(acc + kM * value_dim);
  int16_t* q = p + kM * positions;
  for (int m = 0; m < kM; ++m) {
    int16_t* wide = q + m * key_dim;
    for (int64_t d = 0; d < args.head_dim; ++d) {
      wide[d] = rows[m].q[d];
    }
    for (int64_t d = args.head_dim; d < key_dim; ++d) {
      wide[d] = 0;
    }
  }
  for (int64_t j = 0; j < positions; j += kInts) {
    const int8_t* keys = args.keys + j / kKeyBlock * kKeyBlock * key_dim + j % kKeyBlock * 4;
    ScoresS8<kM>(q, key_dim, keys, key_dim, scores + j, positions);
  }
  int32_t sums[kM];
  for (int m = 0; m < kM; ++m) {
    sums[m] = ProbabilitiesS16(scores + m * positions, rows[m].count, positions, rows[m].constants->to_steps,
                               args.probability_table, p + m * positions);
  }
  const int64_t even = (longest + 1) / 2 * 2;
  int64_t d = 0;
  for (; d + kGroups * kInts <= value_dim; d += kGroups * kInts) {
    ValuesS8<kM, kGroups>(p, positions, args.values + 2 * d, value_dim, even, acc + d, value_dim);
  }
  for (; d < value_dim; d += kInts) {
    ValuesS8<kM, 1>(p, positions, args.values + 2 * d, value_dim, even, acc + d, value_dim);
  }
  for (int m = 0; m < kM; ++m) {
    FinishRowS8(acc + m * value_dim, args.head_dim, sums[m], *rows[m].constants, rows[m].out);
  }
}

void AttentionS8(const AttentionS8Args& args) {
  int64_t r = 0;
  for (; r + kAttentionRowsS8 <= args.row_count; r += kAttentionRowsS8) {
    AttendRowsS8<kAttentionRowsS8>(args, args.rows + r);
  }
  for (; r < args.row_count; ++r) {
    AttendRowsS8<1>(args, args.rows + r);
  }
}

}  // namespace
}  // namespace phidias::cpu::PHIDIAS_ISA
