#include "backend/cpu/cpu_options.h"

#include <sched.h>

#include <algorithm>
#include <cstdlib>
#include <string_view>

#include "common/file.h"

namespace phidias {
namespace {

constexpr int kMaxThreads = 1024;

Result<const cpu::Kernels*> ChooseKernels(const std::string& isa) {
  if (isa.empty() || isa == "auto") {
    return &cpu::BestKernels();
  }
  std::string possible;
  for (const cpu::Kernels* kernels : cpu::AllKernels()) {
    if (kernels->isa == isa && kernels->supported()) {
      return kernels;
    }
    if (kernels->supported()) {
      possible += (possible.empty() ? "" : ", ") + std::string(kernels->isa);
    }
  }
  return InvalidArgument("--isa ", Quoted(isa),
                         ": unknown, or not supported by this processor; possible here: ", possible);
}

// The int8 product for the chosen instruction set: that set's own, or the fastest below it that the processor runs.
const cpu::GemmS8& ChooseGemmS8(const cpu::Kernels& kernels) {
  bool reached = false;
  for (const cpu::Kernels* candidate : cpu::AllKernels()) {
    reached = reached || candidate == &kernels;
    for (const cpu::GemmS8* gemm : cpu::AllGemmS8()) {
      if (reached && gemm->supported() && std::string_view(gemm->isa) == candidate->isa) {
        return *gemm;
      }
    }
  }
  return cpu::kReferenceGemmS8;
}

// Whole processors granted by the cgroup's CPU quota, or a large number where there is none.
int CgroupQuota() {
  constexpr int kNone = 1 << 20;
  const Result<std::string> text = ReadFile("/sys/fs/cgroup/cpu.max", 4096);
  if (!text.ok() || text->starts_with("max")) {
    return kNone;
  }
  const size_t space = text->find(' ');
  if (space == std::string::npos) {
    return kNone;
  }
  const double quota = std::atof(text->c_str());
  const double period = std::atof(text->c_str() + space);
  return quota > 0 && period > 0 ? std::max(1, static_cast<int>(quota / period)) : kNone;
}

}  // namespace

int AvailableProcessors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  const int allowed = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  return std::max(1, std::min(allowed, CgroupQuota()));
}

Result<CpuSetup> ResolveCpuOptions(const CpuOptions& options) {
  ASSIGN_OR_RETURN(const cpu::Kernels* kernels, ChooseKernels(options.isa));
  if (options.threads < 0 || options.threads > kMaxThreads) {
    return InvalidArgument("--threads ", options.threads, ": must be 1 to ", kMaxThreads, " (or 0: one per processor, ",
                           AvailableProcessors(), " here)");
  }
  const int threads = options.threads == 0 ? AvailableProcessors() : options.threads;
  return CpuSetup{.kernels = kernels, .gemm_s8 = &ChooseGemmS8(*kernels), .threads = threads};
}

}  // namespace phidias
