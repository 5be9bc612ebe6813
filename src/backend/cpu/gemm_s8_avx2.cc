// AVX2: bytes widened to int16 and multiplied in pairs (vpmaddwd): exact. vpmaddubsw would saturate, and taking signs
// apart breaks at -128.
#include <immintrin.h>

#include "backend/cpu/gemm_s8_tiles.h"

namespace phidias::cpu {
namespace {

constexpr int64_t kStep = 16;

inline __attribute__((always_inline)) __m256i LoadWide(const int8_t* at) {
  return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at)));
}

inline __attribute__((always_inline)) int32_t Sum(__m256i lanes) {
  __m128i four = _mm_add_epi32(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256(lanes, 1));
  four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
  four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0xb1));
  return _mm_cvtsi128_si32(four);
}

struct RowTile {
  static constexpr int kTileM = 2;
  static constexpr int kTileN = 4;

  template <int kM, int kN>
  static __attribute__((noinline)) void Run(const GemmS8Args& args, int64_t m0, int64_t n0, int64_t n_begin) {
    __m256i acc[kM][kN];
#pragma GCC unroll 8
    for (int m = 0; m < kM; ++m) {
#pragma GCC unroll 8
      for (int n = 0; n < kN; ++n) {
        acc[m][n] = _mm256_setzero_si256();
      }
    }
    const int8_t* x = args.x + m0 * args.k;
    const int8_t* w = args.weight + n0 * args.k;
    const int64_t full = args.k / kStep * kStep;
    for (int64_t k = 0; k < full; k += kStep) {
      __m256i rows[kM];
#pragma GCC unroll 8
      for (int m = 0; m < kM; ++m) {
        rows[m] = LoadWide(x + m * args.k + k);
      }
#pragma GCC unroll 8
      for (int n = 0; n < kN; ++n) {
        const __m256i weights = LoadWide(w + n * args.k + k);
#pragma GCC unroll 8
        for (int m = 0; m < kM; ++m) {
          acc[m][n] = _mm256_add_epi32(acc[m][n], _mm256_madd_epi16(rows[m], weights));
        }
      }
    }
#pragma GCC unroll 8
    for (int m = 0; m < kM; ++m) {
#pragma GCC unroll 8
      for (int n = 0; n < kN; ++n) {
        args.acc[(m0 + m) * args.acc_stride + n0 + n - n_begin] = Sum(acc[m][n]);
      }
    }
    if (full < args.k) {
      AddLastProducts(args, m0, kM, n0, kN, n_begin, full, 0);
    }
  }

  static int32_t OneRow(const GemmS8Args& args, int64_t n) {
    const int8_t* w = args.weight + n * args.k;
    __m256i a = _mm256_setzero_si256();
    __m256i b = _mm256_setzero_si256();
    int64_t k = 0;
    for (; k + 2 * kStep <= args.k; k += 2 * kStep) {
      a = _mm256_add_epi32(a, _mm256_madd_epi16(LoadWide(args.x + k), LoadWide(w + k)));
      b = _mm256_add_epi32(b, _mm256_madd_epi16(LoadWide(args.x + k + kStep), LoadWide(w + k + kStep)));
    }
    int32_t sum = Sum(_mm256_add_epi32(a, b));
    for (; k < args.k; ++k) {
      sum += args.x[k] * w[k];
    }
    return sum;
  }
};

// 16 bytes of packed weights are 4 columns x 4 inputs: widened to int16 and multiplied with 4 inputs of x repeated, a
// vpmaddwd leaves two sums a column, which are added at the end. A block is four such vectors; a tile takes 3 rows of
// x, 12 sums of 16 registers. (The steps are written out in loops: GCC 12 then keeps the sums in registers.)
struct PackedTile {
  static constexpr int kTileM = 3;
  static constexpr int kTileBlocks = 1;
  static constexpr int kVectors = 4;

  static inline __attribute__((always_inline)) __m256i Weights(const uint8_t* packed, int64_t k, int v) {
    return _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(packed + k * kPackRows + v * 16)));
  }

  template <int kM, int kBlocks>
  static __attribute__((noinline)) void Run(const PackedGemmS8Args& args, int64_t m0, int64_t block) {
    const uint8_t* w = args.packed + block * PackedBlockBytes(args.k);
    const int8_t* x = args.x + m0 * args.k;
    __m256i acc[kM][kVectors];
#pragma GCC unroll 4
    for (int m = 0; m < kM; ++m) {
      // Once in every pair of sums.
      const __m256i offset = _mm256_set1_epi64x(static_cast<uint32_t>(-128 * args.x_sum[m0 + m]));
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        acc[m][v] = offset;
      }
    }
    const int64_t full = args.k / kPackInputs * kPackInputs;
    for (int64_t k = 0; k < full; k += kPackInputs) {
      __m256i rows[kM];
#pragma GCC unroll 4
      for (int m = 0; m < kM; ++m) {
        rows[m] = _mm256_cvtepi8_epi16(_mm_set1_epi32(FourInputs(x + m * args.k + k)));
      }
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        const __m256i weights = Weights(w, k, v);
#pragma GCC unroll 4
        for (int m = 0; m < kM; ++m) {
          acc[m][v] = _mm256_add_epi32(acc[m][v], _mm256_madd_epi16(rows[m], weights));
        }
      }
    }
#pragma GCC unroll 4
    for (int m = 0; m < kM; ++m) {
      int32_t* out = args.acc + (m0 + m) * args.acc_stride + block * kPackRows;
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), Columns(acc[m][0], acc[m][1]));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + 8), Columns(acc[m][2], acc[m][3]));
    }
    if (full < args.k) {
      AddLastInputs(args, m0, kM, block);
    }
  }

  // vphaddd works in 128-bit halves: columns come out as 0 1 4 5 2 3 6 7.
  static inline __attribute__((always_inline)) __m256i Columns(__m256i first, __m256i second) {
    return _mm256_permute4x64_epi64(_mm256_hadd_epi32(first, second), 0xd8);
  }

  // Up to three inputs beyond the last whole group, for the sums that are stored already.
  static __attribute__((noinline)) void AddLastInputs(const PackedGemmS8Args& args, int64_t m0, int64_t rows,
                                                      int64_t block) {
    const int64_t full = args.k / kPackInputs * kPackInputs;
    const uint8_t* w = args.packed + block * PackedBlockBytes(args.k);
    for (int64_t m = m0; m < m0 + rows; ++m) {
      const __m256i row = _mm256_cvtepi8_epi16(_mm_set1_epi32(LastInputs(args.x + m * args.k + full, args.k - full)));
      int32_t* out = args.acc + m * args.acc_stride + block * kPackRows;
      for (int v = 0; v < kVectors; v += 2) {
        auto* at = reinterpret_cast<__m256i*>(out + 4 * v);
        const __m256i sums =
            Columns(_mm256_madd_epi16(row, Weights(w, full, v)), _mm256_madd_epi16(row, Weights(w, full, v + 1)));
        _mm256_storeu_si256(at, _mm256_add_epi32(_mm256_loadu_si256(at), sums));
      }
    }
  }
};

}  // namespace

const GemmS8 kAvx2GemmS8 = {
    .isa = "avx2",
    .supported = [] { return __builtin_cpu_supports("avx2") != 0; },
    .run = RunTiles<RowTile>,
    .packed = RunPackedTiles<PackedTile>,
};

}  // namespace phidias::cpu
