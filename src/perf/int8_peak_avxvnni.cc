#if defined(__x86_64__)

#include <cpuid.h>

#include "perf/int8_peak_256.h"
#include "perf/int8_peak_loop.h"

namespace phidias {
namespace {

struct AvxVnni : Int8Peak256 {
  static constexpr int kProducts = 32;

  static Register Add(Register acc, Register x, Register w) { return _mm256_dpbusd_avx_epi32(acc, x, w); }
};

// GCC 12's __builtin_cpu_supports doesn't know "avxvnni": CPUID leaf 7, subleaf 1, EAX bit 4. That there is AVX2 says
// that the system saves the registers.
bool Supported() {
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  return __builtin_cpu_supports("avx2") != 0 && __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) != 0 &&
         (eax & (1U << 4)) != 0;
}

}  // namespace

const Int8Peak kInt8PeakAvxVnni = {
    .name = "avxvnni", .isa = "avxvnni", .supported = Supported, .run = RunInt8Peak<AvxVnni>};

}  // namespace phidias

#endif
