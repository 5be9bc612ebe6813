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
  static __attribute__((noinline)) void Run(const GemmS8Args& args, int64_t m0, int64_t n0, int64_t n_begin) {
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
        rows[m] = _mm256_xor_si256(Load(x + m * args.k + k), flip);
      }
#pragma GCC unroll 4
      for (int n = 0; n < kN; ++n) {
        const __m256i weights = Load(w + n * args.k + k);
#pragma GCC unroll 4
        for (int m = 0; m < kM; ++m) {
          acc[m][n] = PHIDIAS_DPBUSD(acc[m][n], rows[m], weights);
        }
      }
    }
#pragma GCC unroll 4
    for (int m = 0; m < kM; ++m) {
#pragma GCC unroll 4
      for (int n = 0; n < kN; ++n) {
        args.acc[(m0 + m) * args.acc_stride + n0 + n - n_begin] = Sum(acc[m][n]) - 128 * args.row_sum[n0 + n];
      }
    }
    if (full < args.k) {  // row_sum covers these too, so x goes in as x + 128 here as well
      AddLastProducts(args, m0, kM, n0, kN, n_begin, full, 128);
    }
  }

  static int32_t OneRow(const GemmS8Args& args, int64_t n) {
    const __m256i flip = _mm256_set1_epi8(static_cast<char>(0x80));
    const int8_t* w = args.weight + n * args.k;
    __m256i a = _mm256_setzero_si256();
    __m256i b = _mm256_setzero_si256();
    int64_t k = 0;
    for (; k + 2 * kStep <= args.k; k += 2 * kStep) {
      a = PHIDIAS_DPBUSD(a, _mm256_xor_si256(Load(args.x + k), flip), Load(w + k));
      b = PHIDIAS_DPBUSD(b, _mm256_xor_si256(Load(args.x + k + kStep), flip), Load(w + k + kStep));
    }
    int32_t sum = Sum(_mm256_add_epi32(a, b)) - 128 * args.row_sum[n];
    for (; k < args.k; ++k) {  // row_sum covers these too
      sum += (args.x[k] + 128) * w[k];
    }
    return sum;
  }

  static inline __attribute__((always_inline)) __m256i Load(const int8_t* at) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
  }

  static inline __attribute__((always_inline)) int32_t Sum(__m256i lanes) {
    __m128i four = _mm_add_epi32(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256(lanes, 1));
    four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
    four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0xb1));
    return _mm_cvtsi128_si32(four);
  }
};

// A block of 16 columns is two vectors.
struct PackedTile256 {
  static constexpr int kTileM = 6;
  static constexpr int kTileBlocks = 1;

  // The steps are written out in loops and the sums begin at their offset: GCC 12 then keeps them in registers.
  template <int kM, int kBlocks>
  static __attribute__((noinline)) void Run(const PackedGemmS8Args& args, int64_t m0, int64_t block) {
    const uint8_t* w = args.packed + block * PackedBlockBytes(args.k);
    const int8_t* x = args.x + m0 * args.k;
    __m256i low[kM];
    __m256i high[kM];
#pragma GCC unroll 8
    for (int m = 0; m < kM; ++m) {
      low[m] = high[m] = _mm256_set1_epi32(-128 * args.x_sum[m0 + m]);
    }
    const int64_t full = args.k / kPackInputs * kPackInputs;
    for (int64_t k = 0; k < full; k += kPackInputs) {
      const auto* at = reinterpret_cast<const __m256i*>(w + k * kPackRows);
      const __m256i columns_low = _mm256_loadu_si256(at);
      const __m256i columns_high = _mm256_loadu_si256(at + 1);
#pragma GCC unroll 8
      for (int m = 0; m < kM; ++m) {
        const __m256i row = _mm256_set1_epi32(FourInputs(x + m * args.k + k));
        low[m] = PHIDIAS_DPBUSD(low[m], columns_low, row);
        high[m] = PHIDIAS_DPBUSD(high[m], columns_high, row);
      }
    }
#pragma GCC unroll 8
    for (int m = 0; m < kM; ++m) {
      auto* out = reinterpret_cast<__m256i*>(args.acc + (m0 + m) * args.acc_stride + block * kPackRows);
      _mm256_storeu_si256(out, low[m]);
      _mm256_storeu_si256(out + 1, high[m]);
    }
    if (full < args.k) {
      AddLastInputs(args, m0, kM, block);
    }
  }

  // Up to three inputs beyond the last whole group, for the sums that are stored already.
  static __attribute__((noinline)) void AddLastInputs(const PackedGemmS8Args& args, int64_t m0, int64_t rows,
                                                      int64_t block) {
    const int64_t full = args.k / kPackInputs * kPackInputs;
    const auto* at =
        reinterpret_cast<const __m256i*>(args.packed + block * PackedBlockBytes(args.k) + full * kPackRows);
    for (int64_t m = m0; m < m0 + rows; ++m) {
      const __m256i row = _mm256_set1_epi32(LastInputs(args.x + m * args.k + full, args.k - full));
      auto* out = reinterpret_cast<__m256i*>(args.acc + m * args.acc_stride + block * kPackRows);
      for (int half = 0; half < 2; ++half) {
        const __m256i sum = PHIDIAS_DPBUSD(_mm256_loadu_si256(out + half), _mm256_loadu_si256(at + half), row);
        _mm256_storeu_si256(out + half, sum);
      }
    }
  }
};

}  // namespace
}  // namespace phidias::cpu
