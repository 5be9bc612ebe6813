#pragma once

#include <string>

#include "backend/cpu/gemm_s8.h"
#include "backend/cpu/kernels.h"
#include "common/status.h"

namespace phidias {

struct CpuOptions {
  int threads = 0;  // 0: one per processor that this process may use
  std::string isa;  // "avx512", "avx2", "portable", "reference"; empty or "auto": the fastest that the processor runs
};

// The options made concrete.
struct CpuSetup {
  const cpu::Kernels* kernels = nullptr;
  const cpu::GemmS8* gemm_s8 = nullptr;  // that set's own, or the fastest below it that the processor runs
  int threads = 1;
};

// Processors that this process may run on (affinity and cgroup CPU quota; at least 1).
int AvailableProcessors();

// Errors: an instruction set that is unknown or that the processor lacks (the message lists what is possible), a number
// of threads outside 0..1024.
Result<CpuSetup> ResolveCpuOptions(const CpuOptions& options);

}  // namespace phidias
