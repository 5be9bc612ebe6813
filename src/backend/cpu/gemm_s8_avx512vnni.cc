// AVX-512 VNNI. vpdpbusd multiplies unsigned by signed bytes. Over rows, x goes in as x + 128 (its top bit flipped) and
// 128 * sum(w) is taken off; packed weights are w + 128 already, and 128 * sum(x) is taken off. Exact for every value,
// -128 included.
#include <immintrin.h>

#include "backend/cpu/gemm_s8_tiles.h"

namespace phidias::cpu {
namespace {

constexpr int64_t kStep = 64;

struct RowTile {
  static constexpr int kTileM = 4;
  static constexpr int kTileN = 6;

  template <int kM, int kN>
  static inline __attribute__((always_inline)) void Run(const GemmS8Args& args, int64_t m0, int64_t n0,
                                                        int64_t n_begin) {
    __m512i acc[kM][kN];
    for (int m = 0; m < kM; ++m) {
      for (int n = 0; n < kN; ++n) {
        acc[m][n] = _mm512_setzero_si512();
      }
    }
    const __m512i flip = _mm512_set1_epi8(static_cast<char>(0x80));
    const int8_t* x = args.x + m0 * args.k;
    const int8_t* w = args.weight + n0 * args.k;
    const auto step = [&](int64_t k, __mmask64 mask) {
      __m512i rows[kM];
      for (int m = 0; m < kM; ++m) {
        rows[m] = _mm512_xor_si512(_mm512_maskz_loadu_epi8(mask, x + m * args.k + k), flip);
      }
      for (int n = 0; n < kN; ++n) {
        const __m512i weights = _mm512_maskz_loadu_epi8(mask, w + n * args.k + k);
        for (int m = 0; m < kM; ++m) {
          acc[m][n] = _mm512_dpbusd_epi32(acc[m][n], rows[m], weights);
        }
      }
    };
    const int64_t full = args.k / kStep * kStep;
    for (int64_t k = 0; k < full; k += kStep) {
      step(k, ~__mmask64{0});
    }
    if (full != args.k) {
      step(full, (__mmask64{1} << (args.k - full)) - 1);  // absent weights are 0, so what x holds there doesn't matter
    }
    for (int m = 0; m < kM; ++m) {
      for (int n = 0; n < kN; ++n) {
        args.acc[(m0 + m) * args.acc_stride + n0 + n - n_begin] =
            _mm512_reduce_add_epi32(acc[m][n]) - 128 * args.row_sum[n0 + n];
      }
    }
  }
};

// One row of x uses four accumulators a block instead of one: vpdpbusd has a latency of four or five cycles.
struct PackedTile {
  static constexpr int kTileM = 8;
  static constexpr int kTileBlocks = kGroupBlocks;

  template <int kM, int kBlocks>
  static inline __attribute__((always_inline)) void Run(const PackedGemmS8Args& args, int64_t m0, int64_t block) {
    constexpr int kChains = kM * kBlocks == 1 ? 4 : 1;
    const int64_t block_bytes = PackedBlockBytes(args.k);
    const uint8_t* w = args.packed + block * block_bytes;
    const int8_t* x = args.x + m0 * args.k;
    __m512i acc[kChains][kM][kBlocks];
#pragma GCC unroll 4
    for (int chain = 0; chain < kChains; ++chain) {
#pragma GCC unroll 8
      for (int m = 0; m < kM; ++m) {
#pragma GCC unroll 4
        for (int n = 0; n < kBlocks; ++n) {
          acc[chain][m][n] = _mm512_setzero_si512();
        }
      }
    }
    const auto step = [&](__m512i(&sums)[kM][kBlocks], int64_t k, auto inputs) __attribute__((always_inline)) {
      __m512i weights[kBlocks];
#pragma GCC unroll 4
      for (int n = 0; n < kBlocks; ++n) {
        weights[n] = _mm512_loadu_si512(w + n * block_bytes + k * kPackRows);
      }
#pragma GCC unroll 8
      for (int m = 0; m < kM; ++m) {
        const __m512i row = _mm512_set1_epi32(inputs(x + m * args.k + k));
#pragma GCC unroll 4
        for (int n = 0; n < kBlocks; ++n) {
          sums[m][n] = _mm512_dpbusd_epi32(sums[m][n], weights[n], row);
        }
      }
    };
    const int64_t full = args.k / kPackInputs * kPackInputs;
    int64_t k = 0;
    if constexpr (kChains > 1) {
      for (; k + kChains * kPackInputs <= full; k += kChains * kPackInputs) {
#pragma GCC unroll 4
        for (int chain = 0; chain < kChains; ++chain) {
          step(acc[chain], k + chain * kPackInputs, FourInputs);
        }
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
      const __m512i offset = _mm512_set1_epi32(128 * args.x_sum[m0 + m]);
#pragma GCC unroll 4
      for (int n = 0; n < kBlocks; ++n) {
        __m512i sum = acc[0][m][n];
#pragma GCC unroll 4
        for (int chain = 1; chain < kChains; ++chain) {
          sum = _mm512_add_epi32(sum, acc[chain][m][n]);
        }
        _mm512_storeu_si512(args.acc + (m0 + m) * args.acc_stride + (block + n) * kPackRows,
                            _mm512_sub_epi32(sum, offset));
      }
    }
  }
};

}  // namespace

const GemmS8 kAvx512VnniGemmS8 = {
    .isa = "avx512",
    .supported = [] { return __builtin_cpu_supports("avx512vnni") != 0 && __builtin_cpu_supports("avx512bw") != 0; },
    .run = RunTiles<RowTile>,
    .packed = RunPackedTiles<PackedTile>,
};

}  // namespace phidias::cpu
