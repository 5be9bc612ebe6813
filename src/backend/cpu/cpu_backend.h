#pragma once

#include <memory>
#include <string>

#include "backend/backend.h"

namespace phidias {

struct CpuOptions {
  int threads = 0;  // 0: one per processor that this process may use
  std::string isa;  // "avx512", "avx2", "portable", "reference"; empty: the fastest that the processor runs
};

// Processors that this process may run on (affinity and cgroup CPU quota; at least 1).
int AvailableProcessors();

// The `float` arithmetic on the host. Errors: an instruction set that is unknown or that the processor lacks (the
// message lists what is possible), a number of threads outside 1..1024.
Result<std::unique_ptr<Backend>> CreateCpuBackend(const ModelShape& shape, const CpuOptions& options);

}  // namespace phidias
