#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "backend/cpu/fast_linear.h"
#include "backend/cpu/gemm_i4.h"
#include "backend/cpu/gemm_s8.h"
#include "backend/cpu/kernels.h"
#include "common/dtype.h"
#include "common/processors.h"
#include "common/status.h"

namespace phidias {

// Where weights lie while the model runs.
enum class WeightPlace : uint8_t {
  kInFile,  // in the mapped file, as they are
  kCopied,  // copied into huge pages, int8 and 4 bits packed for the products; the file's pages are given back
};

struct CpuOptions {
  int threads = 0;  // 0: as AvailableProcessors() says
  // "avx512", "avxvnni", "avx2", "portable", "reference"; empty or "auto": the fastest that the processor runs
  std::string isa;
  WeightPlace weights = WeightPlace::kInFile;
  std::vector<int> cpus = {};    // processors to run on, a thread on each in turn; empty: wherever the system likes
  DType kv_cache = DType::kF32;  // of the `float` arithmetic: kF32 or kF16
  bool fast_float = false;       // float products outside the contract where the processor has faster ones
};

// The options made concrete.
struct CpuSetup {
  std::string isa;
  const cpu::Kernels* kernels = nullptr;
  const cpu::GemmS8* gemm_s8 = nullptr;
  const cpu::GemmI4* gemm_i4 = nullptr;
  int threads = 1;
  std::vector<int> cpus = {};
  const cpu::FastLinear* fast_linear = nullptr;  // for `fast_float`; null: the contract's product
  WeightPlace weights = WeightPlace::kInFile;
};

// Errors: an instruction set that is unknown or that the processor lacks (the message lists what is possible), a number
// of threads outside 0..1024, processors that this process may not use.
Result<CpuSetup> ResolveCpuOptions(const CpuOptions& options);

}  // namespace phidias
