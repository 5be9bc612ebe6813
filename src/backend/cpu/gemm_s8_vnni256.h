// The int8 products on 256-bit vpdpbusd. Included by one file that has it from AVX-VNNI and by one that has it from
// AVX-512 VNNI + VL: PHIDIAS_DPBUSD(acc, unsigned, signed) is the instruction in the including file's encoding.
#pragma once

#include <immintrin.h>

#include "backend/cpu/gemm_s8_tiles.h"

namespace phidias::cpu {
namespace {

struct RowTile256 {
  static constexpr int kTileM = 3;
  static constexpr int kTileN = 4;
  static constexpr int64_t kStep = 32;

  template <int kM, int kN>
  static inline __attribute__((always_inline)) void Run(const GemmS8Args& args, int64_t m0, int64_t n0,
                                                        int64_t n_begin) {
    const __m256i flip = _mm256_set1_epi8(static_cast<char>(0x80));
    const int8_t* x = args.x + m0 * args.k;
    const int8_t* w = args.weight + n0 * args.k;
    __m256i acc[kM][kN];
#pragma GCC unroll 4
    for (int m = 0; m < kM; ++m) {
#pragma GCC unroll 4
      for (int n = 0; n < kN; ++n) {
        acc[m][n] = _mm256_setzero_si256();
      }
    }
    const int64_t full = args.k / kStep * kStep;
    for (int64_t k = 0; k < full; k += kStep) {
      __m256i rows[kM];
#pragma GCC unroll 4
      for (int m = 0; m < kM; ++m) {
        rows[m] = _mm256_xor_si256(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(x + m * args.k + k)), flip);
      }
#pragma GCC unroll 4
      for (int n = 0; n < kN; ++n) {
        const __m256i weights = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w + n * args.k + k));
#pragma GCC unroll 4
        for (int m = 0; m < kM; ++m) {
          acc[m][n] = PHIDIAS_DPBUSD(acc[m][n], rows[m], weights);
        }
      }
    }
    for (int m = 0; m < kM; ++m) {
      for (int n = 0; n < kN; ++n) {
        int32_t sum = Sum(acc[m][n]) - 128 * args.row_sum[n0 + n];
        for (int64_t k = full; k < args.k; ++k) {  // row_sum covers these too, so x goes in as x + 128 here as well
          sum += (x[m * args.k + k] + 128) * w[n * args.k + k];
        }
        args.acc[(m0 + m) * args.acc_stride + n0 + n - n_begin] = sum;
      }
    }
  }

  static inline __attribute__((always_inline)) int32_t Sum(__m256i lanes) {
    __m128i four = _mm_add_epi32(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256(lanes, 1));
    four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
    four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0xb1));
    return _mm_cvtsi128_si32(four);
  }
};

// A block of 16 columns is two vectors; one row of x uses two accumulators each.
struct PackedTile256 {
  static constexpr int kTileM = 6;
  static constexpr int kTileBlocks = 1;

  template <int kM, int kBlocks>
  static inline __attribute__((always_inline)) void Run(const PackedGemmS8Args& args, int64_t m0, int64_t block) {
    constexpr int kChains = kM == 1 ? 2 : 1;
    const uint8_t* w = args.packed + block * PackedBlockBytes(args.k);
    const int8_t* x = args.x + m0 * args.k;
    __m256i acc[kChains][kM][2];
#pragma GCC unroll 2
    for (int chain = 0; chain < kChains; ++chain) {
#pragma GCC unroll 8
      for (int m = 0; m < kM; ++m) {
        acc[chain][m][0] = _mm256_setzero_si256();
        acc[chain][m][1] = _mm256_setzero_si256();
      }
    }
    const auto step = [&](__m256i(&sums)[kM][2], int64_t k, auto inputs) __attribute__((always_inline)) {
      const auto* at = reinterpret_cast<const __m256i*>(w + k * kPackRows);
      const __m256i low = _mm256_loadu_si256(at);
      const __m256i high = _mm256_loadu_si256(at + 1);
#pragma GCC unroll 8
      for (int m = 0; m < kM; ++m) {
        const __m256i row = _mm256_set1_epi32(inputs(x + m * args.k + k));
        sums[m][0] = PHIDIAS_DPBUSD(sums[m][0], low, row);
        sums[m][1] = PHIDIAS_DPBUSD(sums[m][1], high, row);
      }
    };
    const int64_t full = args.k / kPackInputs * kPackInputs;
    int64_t k = 0;
    if constexpr (kChains > 1) {
      for (; k + 2 * kPackInputs <= full; k += 2 * kPackInputs) {
        step(acc[0], k, FourInputs);
        step(acc[1], k + kPackInputs, FourInputs);
      }
    }
    for (; k < full; k += kPackInputs) {
      step(acc[0], k, FourInputs);
    }
    if (k < args.k) {
      step(acc[0], k, [&](const int8_t* at) { return LastInputs(at, args.k - k); });
    }
#pragma GCC unroll 8
    for (int m = 0; m < kM; ++m) {
      const __m256i offset = _mm256_set1_epi32(128 * args.x_sum[m0 + m]);
#pragma GCC unroll 2
      for (int half = 0; half < 2; ++half) {
        __m256i sum = acc[0][m][half];
        if constexpr (kChains > 1) {
          sum = _mm256_add_epi32(sum, acc[1][m][half]);
        }
        int32_t* out = args.acc + (m0 + m) * args.acc_stride + block * kPackRows + half * 8;
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm256_sub_epi32(sum, offset));
      }
    }
  }
};

}  // namespace
}  // namespace phidias::cpu
