#pragma once

#include <cstdint>

#include "perf/int8_peak.h"

namespace phidias {

// The loop of Int8Peak::run for x86's vector registers. `Set` is a type of the including file's own (files are compiled
// for different instruction sets):
//   Register, kAccumulators, kProducts (of one Add), Fill(uint32_t), Add(acc, x, w), Sum(acc)
// The loops over accumulators must be unrolled: an array that is indexed at run time lies in memory.
template <class Set>
int64_t RunInt8Peak(int64_t rounds, uint32_t* sink) {
  using Register = typename Set::Register;
  Register x = Set::Fill(*sink & 0x7f7f7f7fU);
  const Register w = Set::Fill((*sink + 3) & 0x7f7f7f7fU);
  Register acc[Set::kAccumulators];
#pragma GCC unroll 16
  for (int i = 0; i < Set::kAccumulators; ++i) {
    acc[i] = x;
  }
  for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 16
    for (int i = 0; i < Set::kAccumulators; ++i) {
      acc[i] = Set::Add(acc[i], x, w);
      // For all that the compiler knows, both change here: no product can be reused and no two rounds folded into one.
      asm volatile("" : "+v"(acc[i]), "+v"(x));
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < Set::kAccumulators; ++i) {
    *sink += Set::Sum(acc[i]);
  }
  return rounds * Set::kAccumulators * Set::kProducts;
}

}  // namespace phidias
