#pragma once

#include <cstdint>

#include "backend/cpu/kernels.h"

namespace phidias::cpu {

// Float products that leave the contract (`--fast-float`): fused multiplication and addition, or dot products of
// bfloat16. Their bits differ between instruction sets and, for bfloat16, from what the weights and inputs say.
struct FastLinear {
  const char* name;  // "bf16", "fma"
  const char* isa;   // of the Kernels that it goes with
  bool (*supported)();
  int64_t block;                         // output columns that one call handles best together
  int64_t (*scratch_floats)(int64_t k);  // working space of `run`
  void (*run)(const LinearArgs& args, int64_t n_begin, int64_t n_end, float* scratch);
};

// The fastest that goes with a set of kernels on this processor, or null.
const FastLinear* FindFastLinear(const Kernels& kernels);

#if defined(__x86_64__)
extern const FastLinear kAvx512Bf16Linear;
extern const FastLinear kAvx512FmaLinear;
extern const FastLinear kAvx2FmaLinear;
#endif

}  // namespace phidias::cpu
