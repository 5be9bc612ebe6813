#if defined(__x86_64__)

#include <immintrin.h>

#include "perf/int8_peak_loop.h"

namespace phidias {
namespace {

struct Avx512Vnni {
  using Register = __m512i;
  static constexpr int kAccumulators = 16;  // at least latency times throughput
  static constexpr int kProducts = 64;

  static Register Fill(uint32_t value) { return _mm512_set1_epi32(static_cast<int>(value)); }
  static Register Add(Register acc, Register x, Register w) { return _mm512_dpbusd_epi32(acc, x, w); }
  static uint32_t Sum(Register acc) {
    uint32_t lanes[16];
    _mm512_storeu_si512(lanes, acc);
    uint32_t sum = 0;
    for (const uint32_t lane : lanes) {
      sum += lane;
    }
    return sum;
  }
};

}  // namespace

const Int8Peak kInt8PeakAvx512Vnni = {
    .name = "avx512vnni",
    .isa = "avx512",
    .supported = [] { return __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512vnni") != 0; },
    .run = RunInt8Peak<Avx512Vnni>};

}  // namespace phidias

#endif
