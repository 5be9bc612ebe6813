#pragma once

#include <cstdint>
#include <string>

#include "backend/cpu/gemm_s8.h"
#include "backend/cpu/kernels.h"
#include "common/status.h"

namespace phidias {

// Where weights lie while the model runs.
enum class WeightPlace : uint8_t {
  kInFile,  // in the mapped file, as they are
  kCopied,  // copied into huge pages, int8 packed for the products; the file's pages are given back
};

struct CpuOptions {
  int threads = 0;  // 0: one per processor that this process may use
  // "avx512", "avxvnni", "avx2", "portable", "reference"; empty or "auto": the fastest that the processor runs
  std::string isa;
  WeightPlace weights = WeightPlace::kInFile;
};

// The options made concrete.
struct CpuSetup {
  std::string isa;
  const cpu::Kernels* kernels = nullptr;
  const cpu::GemmS8* gemm_s8 = nullptr;
  int threads = 1;
  WeightPlace weights = WeightPlace::kInFile;
};

// Processors that this process may run on (affinity and cgroup CPU quota; at least 1).
int AvailableProcessors();

// Errors: an instruction set that is unknown or that the processor lacks (the message lists what is possible), a number
// of threads outside 0..1024.
Result<CpuSetup> ResolveCpuOptions(const CpuOptions& options);

}  // namespace phidias
