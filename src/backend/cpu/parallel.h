#pragma once

#include <cstdint>
#include <utility>

#include "common/thread_pool.h"
#include "numerics/fp_mode.h"

namespace phidias::cpu {

// The pool's loop with the calling thread in the contract's floating-point mode. Workers are in it for life: a back
// end's pool is made with EnterFloatMode as their setup.
template <class Fn>
void ParallelFor(ThreadPool& pool, int64_t count, int64_t grain, Fn&& fn) {
  const numerics::ScopedFlushToZero mode;
  pool.ParallelFor(count, grain, std::forward<Fn>(fn));
}

inline void EnterFloatMode() {
  static thread_local numerics::ScopedFlushToZero mode;
}

}  // namespace phidias::cpu
