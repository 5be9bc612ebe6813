#pragma once

// Lets whoever runs the kernels as C++ (an emulated card, a test) see what they move through their m_axi ports.

#include <cstdint>

#ifdef __SYNTHESIS__

inline void SimCountRead(const volatile void*, uint64_t) {}
inline void SimCountWrite(const volatile void*, uint64_t) {}

#else

// Called for every burst, from any thread; null when nobody listens. Set before the first kernel runs.
using SimMemoryListener = void (*)(const volatile void* address, uint64_t bytes, bool write);
extern "C" SimMemoryListener phidias_sim_memory_listener;  // defined in sim_memory.cc

// A burst of `bytes` from (to) `address` on, in the kernel's address space.
inline void SimCountRead(const volatile void* address, uint64_t bytes) {
  if (phidias_sim_memory_listener != nullptr) {
    phidias_sim_memory_listener(address, bytes, false);
  }
}
inline void SimCountWrite(const volatile void* address, uint64_t bytes) {
  if (phidias_sim_memory_listener != nullptr) {
    phidias_sim_memory_listener(address, bytes, true);
  }
}

#endif
