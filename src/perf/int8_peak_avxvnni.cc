#if defined(__x86_64__)

#include "backend/cpu/processor.h"
#include "perf/int8_peak_256.h"
#include "perf/int8_peak_loop.h"

namespace phidias {
namespace {

struct AvxVnni : Int8Peak256 {
  static constexpr int kProducts = 32;

  static Register Add(Register acc, Register x, Register w) { return _mm256_dpbusd_avx_epi32(acc, x, w); }
};

}  // namespace

const Int8Peak kInt8PeakAvxVnni = {
    .name = "avxvnni", .isa = "avxvnni", .supported = cpu::HasAvxVnni, .run = RunInt8Peak<AvxVnni>};

}  // namespace phidias

#endif
