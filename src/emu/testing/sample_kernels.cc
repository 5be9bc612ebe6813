#include "emu/testing/sample_kernels.h"

#include <stdexcept>

#include "hls/sim_memory.h"

extern "C" {

SimMemoryListener phidias_sim_memory_listener = nullptr;

void vadd(const int32_t* a, const int32_t* b, int32_t* out, int32_t n) {
  SimCountRead(a, 4 * uint64_t(n));
  SimCountRead(b, 4 * uint64_t(n));
  for (int32_t i = 0; i < n; ++i) {
    out[i] = static_cast<int32_t>(static_cast<uint32_t>(a[i]) + static_cast<uint32_t>(b[i]));  // wraps on poison
  }
  SimCountWrite(out, 4 * uint64_t(n));
}

void vscale(const int32_t* in, int32_t* out, int32_t factor, int32_t n) {
  SimCountRead(in, 4 * uint64_t(n));
  for (int32_t i = 0; i < n; ++i) {
    out[i] = static_cast<int32_t>(static_cast<uint32_t>(factor) * static_cast<uint32_t>(in[i]));
  }
  SimCountWrite(out, 4 * uint64_t(n));
}

void vpeek(const int32_t* in, int32_t* out, int64_t index) {
  out[0] = static_cast<const volatile int32_t*>(in)[index];
}

void vstall(int32_t* out) {
  out[0] = 0;
  throw std::runtime_error("vstall: stage Read waits for stream beats, which is full");
}

}  // extern "C"
