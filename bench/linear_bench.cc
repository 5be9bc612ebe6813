// Linear layers of the CPU back end by shape, weight type and number of tokens, one thread. Shapes are data: Phi-2's
// four and the demo model's fc1. Reports GMAC/s and, for one token, the rate at which the weights stream.
#include <benchmark/benchmark.h>

#include <vector>

#include "backend/cpu/gemm_s8.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/matrix_s8.h"
#include "backend/cpu/weight_memory.h"
#include "common/thread_pool.h"
#include "numerics/random.h"

namespace phidias::cpu {
namespace {

struct Shape {
  const char* name;
  int64_t n, k;
};
constexpr Shape kShapes[] = {
    {"demo.fc1", 1280, 320}, {"phi2.q_proj", 2560, 2560}, {"phi2.fc1", 10240, 2560}, {"phi2.fc2", 2560, 10240}};
constexpr int64_t kTokens[] = {1, 8, 64, 512};

void SetRates(benchmark::State& state, const Shape& shape, int64_t m, int64_t weight_bytes) {
  const auto macs = static_cast<double>(shape.n * shape.k * m);
  state.counters["GMAC/s"] = benchmark::Counter(macs * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
  state.counters["GB/s"] =
      benchmark::Counter(static_cast<double>(weight_bytes) * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
}

void LinearFloat(benchmark::State& state, const Kernels& kernels, DType dtype, const Shape& shape, int64_t m) {
  const std::vector<float> x(static_cast<size_t>(m * shape.k), 0.5F);
  const int64_t row_bytes = DTypeBytes(dtype, shape.k);
  const std::vector<std::byte> weight(static_cast<size_t>(row_bytes * shape.n), std::byte{0x30});
  std::vector<float> y(static_cast<size_t>(m * shape.n));
  std::vector<float> scratch(static_cast<size_t>(kernels.linear_block * (shape.k + 16)));
  const LinearArgs args = {.x = x.data(),
                           .m = m,
                           .k = shape.k,
                           .weight_dtype = dtype,
                           .weight = weight.data(),
                           .weight_row_bytes = row_bytes,
                           .y = y.data(),
                           .y_stride = shape.n};
  for (auto _ : state) {
    kernels.linear(args, 0, shape.n, scratch.data());
    benchmark::DoNotOptimize(y.data());
  }
  SetRates(state, shape, m, row_bytes * shape.n);
}

// An int8 product as the back end runs it, its weights where they lie in the file or packed in memory of our own.
void LinearS8(benchmark::State& state, const GemmS8& gemm, bool copied, const Shape& shape, int64_t m) {
  ThreadPool pool(1);
  WeightMemory memory;
  const std::vector<int8_t> x(static_cast<size_t>(m * shape.k), 3);
  const std::vector<int32_t> x_sum(static_cast<size_t>(m), static_cast<int32_t>(3 * shape.k));
  const std::vector<int8_t> weight(static_cast<size_t>(shape.n * shape.k), 5);
  const MatrixS8 matrix = copied ? *MatrixS8::Copy(weight.data(), shape.n, shape.k, gemm, pool, memory)
                                 : MatrixS8::InPlace(weight.data(), shape.n, shape.k, pool);
  GemmScratch scratch;
  for (auto _ : state) {
    matrix.ForProducts(gemm, x.data(), x_sum.data(), m, 0, shape.n, scratch,
                       [](int64_t, int64_t, int64_t, const int32_t* acc) { benchmark::DoNotOptimize(acc); });
  }
  SetRates(state, shape, m, shape.n * shape.k);
}

void RegisterAll() {
  for (const Shape& shape : kShapes) {
    for (const int64_t m : kTokens) {
      const std::string suffix = std::string("/") + shape.name + "/m" + std::to_string(m);
      for (const Kernels* kernels : AllKernels()) {
        if (!kernels->supported() || kernels == &kReferenceKernels) {
          continue;
        }
        for (const DType dtype : {DType::kF32, DType::kF16}) {
          const std::string name = std::string(kernels->isa) + "/" + std::string(DTypeName(dtype)) + suffix;
          benchmark::RegisterBenchmark(name.c_str(),
                                       [=](benchmark::State& state) { LinearFloat(state, *kernels, dtype, shape, m); });
        }
      }
      for (const GemmS8* gemm : AllGemmS8()) {
        if (gemm->supported() && gemm != &kReferenceGemmS8) {
          for (const bool copied : {false, true}) {
            const std::string name = std::string(gemm->isa) + (copied ? "/I8packed" : "/I8") + suffix;
            benchmark::RegisterBenchmark(
                name.c_str(), [=](benchmark::State& state) { LinearS8(state, *gemm, copied, shape, m); });
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace phidias::cpu

int main(int argc, char** argv) {
  phidias::cpu::RegisterAll();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) {
    return 2;
  }
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
