// The products with packed 4-bit weights on 256-bit vpdpbusd and vpdpwssd, as gemm_i4_avx512vnni.cc has them. Included
// by one file that has them from AVX-VNNI and by one that has them from AVX-512 VNNI + VL: PHIDIAS_DPBUSD(acc,
// unsigned, signed) and PHIDIAS_DPWSSD(acc, a, b) are the instructions in the including file's encoding.
#pragma once

#include <immintrin.h>

#include "backend/cpu/gemm_i4_tiles.h"

namespace phidias::cpu {
namespace {

// A block of 16 columns is two vectors.
struct Chunk256 {
  static constexpr int kTileM = 4;
  static constexpr int kTileBlocks = 1;

  // -multiplier in the lower half of each lane, 0 in the upper.
  static inline __attribute__((always_inline)) __m256i Multipliers(const uint8_t* at) {
    const __m256i multiplier = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(at)));
    return _mm256_sub_epi32(_mm256_set1_epi32(1 << 16), multiplier);
  }

  static inline __attribute__((always_inline)) __m256i Broadcast(const int8_t* x) {
    return _mm256_set1_epi32(FourInputs(x));
  }

  static inline __attribute__((always_inline)) __m256i Load(const uint8_t* at) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
  }

  static inline __attribute__((always_inline)) void AddProduct(int32_t* total, __m256i sums, __m256i multiplier) {
    auto* at = reinterpret_cast<__m256i*>(total);
    _mm256_store_si256(at, PHIDIAS_DPWSSD(_mm256_load_si256(at), sums, multiplier));
  }

  template <int kM, int kBlocks>
  static __attribute__((noinline)) void Add(const PlaceI4& at, int32_t* total) {
    const uint8_t* w = at.w;
    const int8_t* x = at.x;
    const __m256i lower = _mm256_set1_epi8(15);
    __m256i first[kM];
    __m256i second[kM];
#pragma GCC unroll 8
    for (int m = 0; m < kM; ++m) {
      first[m] = second[m] = _mm256_set1_epi32(at.offset[m]);
    }
#pragma GCC unroll 4
    for (int64_t step = 0; step < kI4Chunk / kI4Step; ++step) {
#pragma GCC unroll 2
      for (int half = 0; half < 2; ++half) {
        const __m256i a = Load(w + step * kI4StepBytes);
        const __m256i b = Load(w + step * kI4StepBytes + 32);
        const __m256i weights_a = _mm256_and_si256(half == 0 ? a : _mm256_srli_epi16(a, 4), lower);
        const __m256i weights_b = _mm256_and_si256(half == 0 ? b : _mm256_srli_epi16(b, 4), lower);
#pragma GCC unroll 8
        for (int m = 0; m < kM; ++m) {
          const __m256i row = Broadcast(x + m * kI4Chunk + step * kI4Step + 4 * half);
          first[m] = PHIDIAS_DPBUSD(first[m], weights_a, row);
          second[m] = PHIDIAS_DPBUSD(second[m], weights_b, row);
        }
      }
    }
    const __m256i multiplier_a = Multipliers(at.multipliers);
    const __m256i multiplier_b = Multipliers(at.multipliers + 8);
#pragma GCC unroll 8
    for (int m = 0; m < kM; ++m) {
      AddProduct(total + m * kPackRows, first[m], multiplier_a);
      AddProduct(total + m * kPackRows + 8, second[m], multiplier_b);
    }
  }

  // Eight columns: `w` and `multipliers` begin at the first of them. Upper halves stay where they are, 16 times their
  // weight.
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

  static __attribute__((noinline)) void OneRow(const ShapeI4& shape, const PlaceI4& at, int32_t* out) {
    const int8_t* x = at.x;
    const int32_t* offset = at.offset;
    const uint8_t* w = at.w;
    __m256i first = _mm256_setzero_si256();
    __m256i second = _mm256_setzero_si256();
    MultiplierLine line;
    int64_t k = 0;
    for (int64_t group = 0; k < shape.k; ++group) {
      const uint8_t* multipliers = line.Enter(group, w);
      const __m256i multiplier_a = Multipliers(multipliers);
      const __m256i multiplier_b = Multipliers(multipliers + 8);
      const int64_t end = std::min(shape.k, k + shape.group);
      for (; k < end; k += kI4Chunk) {
        first = PHIDIAS_DPWSSD(first, OneChunk(w, x, *offset), multiplier_a);
        second = PHIDIAS_DPWSSD(second, OneChunk(w + 32, x, *offset), multiplier_b);
        x += kI4InputBytes;
        offset += kI4InputRows;
        w += kI4ChunkBytes;
      }
    }
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), first);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + 8), second);
  }
};

}  // namespace
}  // namespace phidias::cpu
