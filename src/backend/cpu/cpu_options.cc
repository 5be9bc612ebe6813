#include "backend/cpu/cpu_options.h"

#include <sched.h>

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <string_view>

#include "common/file.h"

namespace phidias {
namespace {

constexpr int kMaxThreads = 1024;

// What `--isa` can name, fastest first. A processor may have the wide vectors of `avx512` without its int8 products:
// then the fastest product below it that the processor runs serves.
struct Isa {
  const char* name;
  const cpu::Kernels* kernels;
  const cpu::GemmS8* gemm_s8;
};
constexpr Isa kIsas[] = {
#if defined(__x86_64__)
    {"avx512", &cpu::kAvx512Kernels, &cpu::kAvx512VnniGemmS8},
    {"avxvnni", &cpu::kAvx2Kernels, &cpu::kAvxVnniGemmS8},
    {"avx2", &cpu::kAvx2Kernels, &cpu::kAvx2GemmS8},
#endif
    {"portable", &cpu::kPortableKernels, &cpu::kPortableGemmS8},
    {"reference", &cpu::kReferenceKernels, &cpu::kReferenceGemmS8},
};

bool Supported(const Isa& isa) {
  const bool own_product = std::string_view(isa.name) != "avxvnni" || isa.gemm_s8->supported();
  return isa.kernels->supported() && own_product;
}

Result<const Isa*> ChooseIsa(const std::string& name) {
  const bool fastest = name.empty() || name == "auto";
  std::string possible;
  for (const Isa& isa : kIsas) {
    if (!Supported(isa)) {
      continue;
    }
    if (fastest || isa.name == name) {
      return &isa;
    }
    possible += (possible.empty() ? "" : ", ") + std::string(isa.name);
  }
  return InvalidArgument("--isa ", Quoted(name),
                         ": unknown, or not supported by this processor; possible here: ", possible);
}

const cpu::GemmS8& ProductOf(const Isa& chosen) {
  const auto* const fitting =
      std::find_if(&chosen, std::end(kIsas), [](const Isa& isa) { return isa.gemm_s8->supported(); });
  return *fitting->gemm_s8;
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
  ASSIGN_OR_RETURN(const Isa* isa, ChooseIsa(options.isa));
  if (options.threads < 0 || options.threads > kMaxThreads) {
    return InvalidArgument("--threads ", options.threads, ": must be 1 to ", kMaxThreads, " (or 0: one per processor, ",
                           AvailableProcessors(), " here)");
  }
  const int threads = options.threads == 0 ? AvailableProcessors() : options.threads;
  return CpuSetup{.isa = isa->name,
                  .kernels = isa->kernels,
                  .gemm_s8 = &ProductOf(*isa),
                  .threads = threads,
                  .weights = options.weights};
}

}  // namespace phidias
