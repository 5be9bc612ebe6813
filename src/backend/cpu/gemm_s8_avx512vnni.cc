// AVX-512 VNNI. vpdpbusd multiplies unsigned by signed bytes, so x goes in as x + 128 (its top bit flipped) and
// 128 * sum(w) is taken off: exact for every weight, -128 included.
#include <immintrin.h>

#include "backend/cpu/gemm_s8_tiles.h"

namespace phidias::cpu {
namespace {

constexpr int64_t kStep = 64;

struct VnniTile {
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

}  // namespace

const GemmS8 kAvx512VnniGemmS8 = {
    .isa = "avx512",
    .supported = [] { return __builtin_cpu_supports("avx512vnni") != 0 && __builtin_cpu_supports("avx512bw") != 0; },
    .run = RunTiles<VnniTile>,
};

}  // namespace phidias::cpu
