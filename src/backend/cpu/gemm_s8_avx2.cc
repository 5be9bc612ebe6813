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

struct Avx2Tile {
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

}  // namespace

const GemmS8 kAvx2GemmS8 = {
    .isa = "avx2", .supported = [] { return __builtin_cpu_supports("avx2") != 0; }, .run = RunTiles<Avx2Tile>};

}  // namespace phidias::cpu
