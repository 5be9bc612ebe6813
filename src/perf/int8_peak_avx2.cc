#if defined(__x86_64__)

#include "perf/int8_peak_256.h"
#include "perf/int8_peak_loop.h"

namespace phidias {
namespace {

struct Avx2 : Int8Peak256 {
  static constexpr int kProducts = 16;  // of int16: widening int8 to them isn't counted, so this is an upper bound

  static Register Add(Register acc, Register x, Register w) { return _mm256_add_epi32(acc, _mm256_madd_epi16(x, w)); }
};

}  // namespace

const Int8Peak kInt8PeakAvx2 = {.name = "avx2",
                                .isa = "avx2",
                                .supported = [] { return __builtin_cpu_supports("avx2") != 0; },
                                .run = RunInt8Peak<Avx2>};

}  // namespace phidias

#endif
