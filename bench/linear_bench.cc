// Linear layers of the CPU back end by shape, weight type and number of tokens, one thread. Shapes are data: those of
// bench/shapes.txt, or of --shapes=FILE. Reports GMAC/s and, for one token, the rate at which the weights stream.
#include <benchmark/benchmark.h>

#include <cstdio>
#include <vector>

#include "backend/cpu/gemm_s8.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/matrix_i4.h"
#include "backend/cpu/matrix_s8.h"
#include "backend/cpu/weight_memory.h"
#include "bench/shapes.h"
#include "common/thread_pool.h"
#include "numerics/fp_mode.h"
#include "numerics/random.h"

namespace phidias::cpu {
namespace {

constexpr int64_t kTokens[] = {1, 4, 8, 64, 512};

void SetRates(benchmark::State& state, const Shape& shape, int64_t m, int64_t weight_bytes) {
  const auto macs = static_cast<double>(shape.n * shape.k * m);
  state.counters["GMAC/s"] = benchmark::Counter(macs * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
  state.counters["GB/s"] =
      benchmark::Counter(static_cast<double>(weight_bytes) * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
}

void LinearFloat(benchmark::State& state, const Kernels& kernels, DType dtype, const Shape& shape, int64_t m) {
  const numerics::ScopedFlushToZero mode;
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

// The same with 4-bit weights. GB/s counts what the checkpoint has: half a byte a weight and a byte a group.
void LinearI4(benchmark::State& state, const GemmI4& gemm, bool copied, int64_t group, const Shape& shape, int64_t m) {
  ThreadPool pool(1);
  WeightMemory memory;
  const std::vector<int8_t> x(static_cast<size_t>(m * shape.k), 3);
  const std::vector<std::byte> stored(static_cast<size_t>(shape.n * DTypeBytes(DType::kI4, shape.k)), std::byte{0x5d});
  const WeightMatrix weight = {DType::kI4, stored.data(), shape.n, shape.k};
  WeightQuant quant;
  quant.group = group;
  quant.multiplier.assign(static_cast<size_t>(shape.n * quant.Groups(shape.k)), 9);
  const MatrixI4 matrix =
      copied ? *MatrixI4::Copy(weight, quant, gemm, pool, memory) : MatrixI4::InPlace(weight, quant, gemm, pool);
  InputsI4 inputs;
  inputs.Resize(matrix.shape(), m);
  inputs.Fill(matrix.shape(), x.data(), 0, m);
  GemmScratch scratch;
  for (auto _ : state) {
    matrix.ForProducts(gemm, inputs, m, 0, shape.n, scratch,
                       [](int64_t, int64_t, int64_t, const int32_t* acc) { benchmark::DoNotOptimize(acc); });
  }
  SetRates(state, shape, m, shape.n * (weight.RowBytes() + quant.Groups(shape.k)));
}

void RegisterI4(const Shape& shape, int64_t m, const std::string& suffix) {
  for (const GemmI4* gemm : AllGemmI4()) {
    if (!gemm->supported() || gemm == &kReferenceGemmI4) {
      continue;
    }
    for (const int64_t group : {32, 128}) {
      for (const bool copied : {false, true}) {
        const std::string name =
            std::string(gemm->isa) + "/I4g" + std::to_string(group) + (copied ? "packed" : "") + suffix;
        benchmark::RegisterBenchmark(name.c_str(),
                                     [=](benchmark::State& state) { LinearI4(state, *gemm, copied, group, shape, m); });
      }
    }
  }
}

void RegisterAll(const std::vector<Shape>& shapes) {
  for (const Shape& shape : shapes) {
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
            benchmark::RegisterBenchmark(name.c_str(),
                                         [=](benchmark::State& state) { LinearS8(state, *gemm, copied, shape, m); });
          }
        }
      }
      RegisterI4(shape, m, suffix);
    }
  }
}

}  // namespace
}  // namespace phidias::cpu

int main(int argc, char** argv) {
  const auto shapes = phidias::ShapesFromArguments(&argc, argv);
  if (!shapes.ok()) {
    std::fprintf(stderr, "linear_bench: %s\n", shapes.status().message().c_str());
    return 2;
  }
  phidias::cpu::RegisterAll(*shapes);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) {
    return 2;
  }
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
