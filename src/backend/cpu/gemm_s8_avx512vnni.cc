// AVX-512 VNNI. vpdpbusd multiplies unsigned by signed bytes. Over rows, x goes in as x + 128 (its top bit flipped) and
// 128 * sum(w) is taken off; packed weights are w + 128 already, and 128 * sum(x) is taken off. Exact for every value,
// -128 included.
#include <immintrin.h>

#include "backend/cpu/gemm_s8_tiles.h"

// Each tile is a function of its own, its steps written out in loops: inlined together, or with the steps in a lambda,
// GCC 12 keeps the sums in memory (100 instead of 219 GMAC/s).

namespace phidias::cpu {
namespace {

constexpr int64_t kStep = 64;

struct RowTile {
  static constexpr int kTileM = 2;
  static constexpr int kTileN = 6;

  template <int kM, int kN>
  static __attribute__((noinline)) void Run(const GemmS8Args& args, int64_t m0, int64_t n0, int64_t n_begin) {
    __m512i acc[kM][kN];
#pragma GCC unroll 8
    for (int m = 0; m < kM; ++m) {
#pragma GCC unroll 8
      for (int n = 0; n < kN; ++n) {
        acc[m][n] = _mm512_setzero_si512();
      }
    }
    const __m512i flip = _mm512_set1_epi8(static_cast<char>(0x80));
    const int8_t* x = args.x + m0 * args.k;
    const int8_t* w = args.weight + n0 * args.k;
    const auto step = [&](int64_t k, __mmask64 mask) {
      __m512i rows[kM];
#pragma GCC unroll 8
      for (int m = 0; m < kM; ++m) {
        rows[m] = _mm512_xor_si512(_mm512_maskz_loadu_epi8(mask, x + m * args.k + k), flip);
      }
#pragma GCC unroll 8
      for (int n = 0; n < kN; ++n) {
        const __m512i weights = _mm512_maskz_loadu_epi8(mask, w + n * args.k + k);
#pragma GCC unroll 8
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
#pragma GCC unroll 8
    for (int m = 0; m < kM; ++m) {
#pragma GCC unroll 8
      for (int n = 0; n < kN; ++n) {
        args.acc[(m0 + m) * args.acc_stride + n0 + n - n_begin] =
            _mm512_reduce_add_epi32(acc[m][n]) - 128 * args.row_sum[n0 + n];
      }
    }
  }

  static int32_t OneRow(const GemmS8Args& args, int64_t n) {
    const __m512i flip = _mm512_set1_epi8(static_cast<char>(0x80));
    const int8_t* w = args.weight + n * args.k;
    __m512i a = _mm512_setzero_si512();
    __m512i b = _mm512_setzero_si512();
    int64_t k = 0;
    for (; k + 2 * kStep <= args.k; k += 2 * kStep) {
      a = _mm512_dpbusd_epi32(a, _mm512_xor_si512(_mm512_loadu_si512(args.x + k), flip), _mm512_loadu_si512(w + k));
      b = _mm512_dpbusd_epi32(b, _mm512_xor_si512(_mm512_loadu_si512(args.x + k + kStep), flip),
                              _mm512_loadu_si512(w + k + kStep));
    }
    for (; k < args.k; k += kStep) {
      const __mmask64 mask = args.k - k >= kStep ? ~__mmask64{0} : (__mmask64{1} << (args.k - k)) - 1;
      a = _mm512_dpbusd_epi32(a, _mm512_xor_si512(_mm512_maskz_loadu_epi8(mask, args.x + k), flip),
                              _mm512_maskz_loadu_epi8(mask, w + k));
    }
    return _mm512_reduce_add_epi32(_mm512_add_epi32(a, b)) - 128 * args.row_sum[n];
  }
};

inline __attribute__((always_inline)) __m512i Columns(const uint8_t* packed, int64_t k) {
  return _mm512_loadu_si512(packed + k * kPackRows);
}

// One row of x with one block, added to `a`. Four accumulators, since vpdpbusd has a latency of four or five cycles.
inline __attribute__((always_inline)) __m512i OneRow(const int8_t* x, const uint8_t* w, int64_t k_end, __m512i a) {
  __m512i b = _mm512_setzero_si512();
  __m512i c = _mm512_setzero_si512();
  __m512i d = _mm512_setzero_si512();
  int64_t k = 0;
  for (; k + 16 <= k_end; k += 16) {
    a = _mm512_dpbusd_epi32(a, Columns(w, k), _mm512_set1_epi32(FourInputs(x + k)));
    b = _mm512_dpbusd_epi32(b, Columns(w, k + 4), _mm512_set1_epi32(FourInputs(x + k + 4)));
    c = _mm512_dpbusd_epi32(c, Columns(w, k + 8), _mm512_set1_epi32(FourInputs(x + k + 8)));
    d = _mm512_dpbusd_epi32(d, Columns(w, k + 12), _mm512_set1_epi32(FourInputs(x + k + 12)));
  }
  for (; k + kPackInputs <= k_end; k += kPackInputs) {
    a = _mm512_dpbusd_epi32(a, Columns(w, k), _mm512_set1_epi32(FourInputs(x + k)));
  }
  if (k < k_end) {
    b = _mm512_dpbusd_epi32(b, Columns(w, k), _mm512_set1_epi32(LastInputs(x + k, k_end - k)));
  }
  return _mm512_add_epi32(_mm512_add_epi32(a, b), _mm512_add_epi32(c, d));
}

struct PackedTile {
  static constexpr int kTileM = 8;
  static constexpr int kTileBlocks = kGroupBlocks;

  // Where the sums of a row begin. (Subtracted at the end, GCC 12 keeps all sums in memory.)
  static inline __attribute__((always_inline)) __m512i Offset(const PackedGemmS8Args& args, int64_t m) {
    return _mm512_set1_epi32(-128 * args.x_sum[m]);
  }

  template <int kM, int kBlocks>
  static __attribute__((noinline)) void Run(const PackedGemmS8Args& args, int64_t m0, int64_t block) {
    const int64_t block_bytes = PackedBlockBytes(args.k);
    const uint8_t* w = args.packed + block * block_bytes;
    const int8_t* x = args.x + m0 * args.k;
    if constexpr (kM * kBlocks == 1) {
      _mm512_storeu_si512(args.acc + m0 * args.acc_stride + block * kPackRows, OneRow(x, w, args.k, Offset(args, m0)));
      return;
    }
    __m512i acc[kM][kBlocks];
#pragma GCC unroll 8
    for (int m = 0; m < kM; ++m) {
      const __m512i offset = Offset(args, m0 + m);
#pragma GCC unroll 4
      for (int n = 0; n < kBlocks; ++n) {
        acc[m][n] = offset;
      }
    }
    const int64_t full = args.k / kPackInputs * kPackInputs;
    for (int64_t k = 0; k < full; k += kPackInputs) {
      __m512i weights[kBlocks];
#pragma GCC unroll 4
      for (int n = 0; n < kBlocks; ++n) {
        weights[n] = Columns(w + n * block_bytes, k);
      }
#pragma GCC unroll 8
      for (int m = 0; m < kM; ++m) {
        const __m512i row = _mm512_set1_epi32(FourInputs(x + m * args.k + k));
#pragma GCC unroll 4
        for (int n = 0; n < kBlocks; ++n) {
          acc[m][n] = _mm512_dpbusd_epi32(acc[m][n], weights[n], row);
        }
      }
    }
#pragma GCC unroll 8
    for (int m = 0; m < kM; ++m) {
#pragma GCC unroll 4
      for (int n = 0; n < kBlocks; ++n) {
        _mm512_storeu_si512(args.acc + (m0 + m) * args.acc_stride + (block + n) * kPackRows, acc[m][n]);
      }
    }
    if (full < args.k) {
      AddLastInputs(args, m0, kM, block, kBlocks);
    }
  }

  // Up to three inputs beyond the last whole group, for the sums that are stored already.
  static __attribute__((noinline)) void AddLastInputs(const PackedGemmS8Args& args, int64_t m0, int64_t rows,
                                                      int64_t block, int64_t blocks) {
    const int64_t full = args.k / kPackInputs * kPackInputs;
    for (int64_t m = m0; m < m0 + rows; ++m) {
      const __m512i row = _mm512_set1_epi32(LastInputs(args.x + m * args.k + full, args.k - full));
      for (int64_t n = block; n < block + blocks; ++n) {
        int32_t* acc = args.acc + m * args.acc_stride + n * kPackRows;
        const __m512i weights = Columns(args.packed + n * PackedBlockBytes(args.k), full);
        _mm512_storeu_si512(acc, _mm512_dpbusd_epi32(_mm512_loadu_si512(acc), weights, row));
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
