// What 256-bit vpdpbusd and vpdpwssd do in gemm_i4_256.h. Included by one file that has them from AVX-VNNI and by one
// that has them from AVX-512 VNNI + VL: PHIDIAS_DPBUSD(acc, unsigned, signed) and PHIDIAS_DPWSSD(acc, a, b) are the
// instructions in the including file's encoding.
#pragma once

#include "backend/cpu/gemm_i4_256.h"

namespace phidias::cpu {
namespace {

struct VnniSteps {
  // -multiplier in the lower half of each lane, 0 in the upper.
  static inline __attribute__((always_inline)) __m256i Multipliers(const uint8_t* at) {
    const __m256i multiplier = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(at)));
    return _mm256_sub_epi32(_mm256_set1_epi32(1 << 16), multiplier);
  }

  static inline __attribute__((always_inline)) __m256i Start(int32_t offset) { return _mm256_set1_epi32(offset); }

  static inline __attribute__((always_inline)) __m256i Dot(__m256i sums, __m256i w, __m256i x) {
    return PHIDIAS_DPBUSD(sums, w, x);
  }

  static inline __attribute__((always_inline)) __m256i AddScaled(__m256i total, __m256i sums, __m256i multiplier) {
    return PHIDIAS_DPWSSD(total, sums, multiplier);
  }

  // Upper halves stay where they are, 16 times their weight.
  static inline __attribute__((always_inline)) __m256i OneChunk(const uint8_t* w, const int8_t* x, int32_t offset) {
    __m256i low = _mm256_set1_epi32(offset);
    __m256i high = _mm256_setzero_si256();
#pragma GCC unroll 4
    for (int64_t step = 0; step < kI4Chunk / kI4Step; ++step) {
      const __m256i weights = Load(w + step * kI4StepBytes);
      const int8_t* inputs = x + step * kI4Step;
      low = PHIDIAS_DPBUSD(low, _mm256_and_si256(weights, _mm256_set1_epi8(15)), Broadcast(inputs));
      high = PHIDIAS_DPBUSD(high, _mm256_and_si256(weights, _mm256_set1_epi8(static_cast<char>(0xf0))),
                            Broadcast(inputs + 4));
    }
    return _mm256_add_epi32(low, _mm256_srai_epi32(high, 4));
  }
};

}  // namespace
}  // namespace phidias::cpu
