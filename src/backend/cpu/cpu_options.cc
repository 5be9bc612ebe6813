#include "backend/cpu/cpu_options.h"

#include <algorithm>
#include <iterator>
#include <string_view>

#include "common/processors.h"

namespace phidias {
namespace {

constexpr int kMaxThreads = 1024;

// What `--isa` can name, fastest first. A processor may have the wide vectors of `avx512` without its int8 products:
// then the fastest products below it that the processor runs serve.
struct Isa {
  const char* name;
  const cpu::Kernels* kernels;
  const cpu::GemmS8* gemm_s8;
  const cpu::GemmI4* gemm_i4;
};
constexpr Isa kIsas[] = {
#if defined(__x86_64__)
    {"avx512", &cpu::kAvx512Kernels, &cpu::kAvx512VnniGemmS8, &cpu::kAvx512VnniGemmI4},
    {"avxvnni", &cpu::kAvx2Kernels, &cpu::kAvxVnniGemmS8, &cpu::kAvxVnniGemmI4},
    {"avx2", &cpu::kAvx2Kernels, &cpu::kAvx2GemmS8, &cpu::kAvx2GemmI4},
#endif
    {"portable", &cpu::kPortableKernels, &cpu::kPortableGemmS8, &cpu::kPortableGemmI4},
    {"reference", &cpu::kReferenceKernels, &cpu::kReferenceGemmS8, &cpu::kReferenceGemmI4},
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

// The set whose products serve. Those with 4-bit weights take the same instructions as those with int8.
const Isa& ProductsOf(const Isa& chosen) {
  return *std::find_if(&chosen, std::end(kIsas), [](const Isa& isa) { return isa.gemm_s8->supported(); });
}

// Threads when none are asked for: those of the processors that were named, or of all.
Result<int> DefaultThreads(const std::vector<int>& cpus) {
  if (cpus.empty()) {
    return AvailableProcessors();
  }
  const ProcessorLimits here = FindProcessorLimits("", CurrentAffinity());
  if (!std::includes(here.allowed.begin(), here.allowed.end(), cpus.begin(), cpus.end())) {
    return InvalidArgument("--cpu-list ", FormatCpuList(cpus), ": this process may use ", FormatCpuList(here.allowed));
  }
  return ThreadsFor(FindProcessorLimits("", cpus));
}

}  // namespace

Result<CpuSetup> ResolveCpuOptions(const CpuOptions& options) {
  ASSIGN_OR_RETURN(const Isa* isa, ChooseIsa(options.isa));
  if (options.threads < 0 || options.threads > kMaxThreads) {
    return InvalidArgument("--threads ", options.threads, ": must be 1 to ", kMaxThreads, " (or 0: one per core, ",
                           AvailableProcessors(), " here)");
  }
  ASSIGN_OR_RETURN(const int default_threads, DefaultThreads(options.cpus));
  return CpuSetup{.isa = isa->name,
                  .kernels = isa->kernels,
                  .gemm_s8 = ProductsOf(*isa).gemm_s8,
                  .gemm_i4 = ProductsOf(*isa).gemm_i4,
                  .threads = options.threads == 0 ? default_threads : options.threads,
                  .cpus = options.cpus,
                  .fast_linear = options.fast_float ? cpu::FindFastLinear(*isa->kernels) : nullptr,
                  .weights = options.weights};
}

}  // namespace phidias
