#include "backend/cpu/fast_linear.h"

#include <string_view>

namespace phidias::cpu {

const FastLinear* FindFastLinear(const Kernels& kernels) {
#if defined(__x86_64__)
  for (const FastLinear* linear : {&kAvx512Bf16Linear, &kAvx512FmaLinear, &kAvx2FmaLinear}) {
    if (std::string_view(linear->isa) == kernels.isa && linear->supported()) {
      return linear;
    }
  }
#endif
  (void)kernels;
  return nullptr;
}

}  // namespace phidias::cpu
