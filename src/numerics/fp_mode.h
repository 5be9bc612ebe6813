#pragma once

#include <cstdint>

namespace phidias {
namespace numerics {

// Puts the calling thread into the contract's floating-point mode while in scope: round to nearest even, subnormal
// results and operands become zero (FTZ and DAZ), as the FPGA's cores have it. Every thread that computes holds one.
class ScopedFlushToZero {
 public:
#if defined(__x86_64__)
  ScopedFlushToZero() : saved_(__builtin_ia32_stmxcsr()) {
    // Bit 15 FTZ, bit 6 DAZ, bits 13-14 rounding (0: nearest even).
    __builtin_ia32_ldmxcsr((saved_ & ~0x6000u) | 0x8040u);
  }
  ~ScopedFlushToZero() {
    __builtin_ia32_ldmxcsr(saved_);
  }

 private:
  uint32_t saved_;
#elif defined(__aarch64__)
  ScopedFlushToZero() : saved_(Read()) {
    Write((saved_ & ~(uint64_t{3} << 22)) | (uint64_t{1} << 24));
  }
  ~ScopedFlushToZero() {
    Write(saved_);
  }

 private:
  static uint64_t Read() {
    uint64_t value = 0;
    __asm__ volatile("mrs %0, fpcr" : "=r"(value));
    return value;
  }
  static void Write(uint64_t value) {
    __asm__ volatile("msr fpcr, %0" : : "r"(value));
  }
  uint64_t saved_;
#else
#error "No way known to flush subnormals on this processor: docs/numerics.md says what is needed"
#endif

 public:
  ScopedFlushToZero(const ScopedFlushToZero&) = delete;
  ScopedFlushToZero& operator=(const ScopedFlushToZero&) = delete;
};

}  // namespace numerics
}  // namespace phidias
