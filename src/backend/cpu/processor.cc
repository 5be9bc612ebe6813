#include "backend/cpu/processor.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace phidias::cpu {

bool HasAvxVnni() {
#if defined(__x86_64__)
  constexpr unsigned kAvxVnniBit = 1U << 4;  // CPUID.(EAX=7,ECX=1):EAX[4]
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  return __builtin_cpu_supports("avx2") != 0 && __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) != 0 &&
         (eax & kAvxVnniBit) != 0;
#else
  return false;
#endif
}

}  // namespace phidias::cpu
