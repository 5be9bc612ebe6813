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
  static inline __attribute__((always_inline)) void Run(const GemmS8Args& args, int64_t m0, int64_t n0,
                                                        int64_t n_begin) {
    __m256i acc[kM][kN];
    for (int m = 0; m < kM; ++m) {
      for (int n = 0; n < kN; ++n) {
        acc[m][n] = _mm256_setzero_si256();
      }
    }
    const int8_t* x = args.x + m0 * args.k;
    const int8_t* w = args.weight + n0 * args.k;
    const int64_t full = args.k / kStep * kStep;
    for (int64_t k = 0; k < full; k += kStep) {
      __m256i rows[kM];
      for (int m = 0; m < kM; ++m) {
        rows[m] = LoadWide(x + m * args.k + k);
      }
      for (int n = 0; n < kN; ++n) {
        const __m256i weights = LoadWide(w + n * args.k + k);
        for (int m = 0; m < kM; ++m) {
          acc[m][n] = _mm256_add_epi32(acc[m][n], _mm256_madd_epi16(rows[m], weights));
        }
      }
    }
    for (int m = 0; m < kM; ++m) {
      for (int n = 0; n < kN; ++n) {
        int32_t sum = Sum(acc[m][n]);
        for (int64_t k = full; k < args.k; ++k) {
          sum += x[m * args.k + k] * w[n * args.k + k];
        }
        args.acc[(m0 + m) * args.acc_stride + n0 + n - n_begin] = sum;
      }
    }
  }
};

// 16 bytes of packed weights are 4 columns x 4 inputs: widened to int16 and multiplied with 4 inputs of x repeated, a
// vpmaddwd leaves two sums a column, which are added at the end. A block is four such vectors.
struct PackedTile {
  static constexpr int kTileM = 3;  // with 4 vectors each: 12 accumulators of 16 registers
  static constexpr int kTileBlocks = 1;
  static constexpr int kVectors = 4;

  template <int kM, int kBlocks>
  static inline __attribute__((always_inline)) void Run(const PackedGemmS8Args& args, int64_t m0, int64_t block) {
    const uint8_t* w = args.packed + block * PackedBlockBytes(args.k);
    const int8_t* x = args.x + m0 * args.k;
    __m256i acc[kM][kVectors];
#pragma GCC unroll 4
    for (int m = 0; m < kM; ++m) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        acc[m][v] = _mm256_setzero_si256();
      }
    }
    const auto step = [&](int64_t k, auto inputs) __attribute__((always_inline)) {
      __m256i rows[kM];
#pragma GCC unroll 4
      for (int m = 0; m < kM; ++m) {
        rows[m] = _mm256_cvtepi8_epi16(_mm_set1_epi32(inputs(x + m * args.k + k)));
      }
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        const auto* at = reinterpret_cast<const __m128i*>(w + k * kPackRows + v * 16);
        const __m256i weights = _mm256_cvtepu8_epi16(_mm_loadu_si128(at));
#pragma GCC unroll 4
        for (int m = 0; m < kM; ++m) {
          acc[m][v] = _mm256_add_epi32(acc[m][v], _mm256_madd_epi16(rows[m], weights));
        }
      }
    };
    const int64_t full = args.k / kPackInputs * kPackInputs;
    for (int64_t k = 0; k < full; k += kPackInputs) {
      step(k, FourInputs);
    }
    if (full < args.k) {
      step(full, [&](const int8_t* at) { return LastInputs(at, args.k - full); });
    }
#pragma GCC unroll 4
    for (int m = 0; m < kM; ++m) {
      Store(acc[m], args.x_sum[m0 + m], args.acc + (m0 + m) * args.acc_stride + block * kPackRows);
    }
  }

  static inline __attribute__((always_inline)) void Store(const __m256i (&acc)[kVectors], int32_t x_sum, int32_t* out) {
    const __m256i offset = _mm256_set1_epi32(128 * x_sum);
#pragma GCC unroll 2
    for (int pair = 0; pair < kVectors; pair += 2) {
      // vphaddd works in 128-bit halves: columns come out as 0 1 4 5 2 3 6 7.
      const __m256i mixed = _mm256_hadd_epi32(acc[pair], acc[pair + 1]);
      const __m256i columns = _mm256_permute4x64_epi64(mixed, 0xd8);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + pair * 4), _mm256_sub_epi32(columns, offset));
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
