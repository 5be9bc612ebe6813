// Attention of one thread with Phi-2's heads: a prompt (many query rows against keys that fit the cache: GMAC/s beside
// the processor's peak of separate multiplications and additions) and one token after a long context (GB/s of keys and
// values beside a plain read of the same memory).
#include <benchmark/benchmark.h>

#include <algorithm>
#include <string>
#include <vector>

#include "backend/cpu/attention.h"
#include "backend/cpu/kernels.h"
#include "numerics/fp_mode.h"
#include "numerics/half.h"
#include "numerics/integer_setup.h"

namespace phidias::cpu {
namespace {

constexpr int64_t kHeadDim = 80;
constexpr int64_t kHeads = 32;
constexpr float kScale = 0.11180339887F;
constexpr int64_t kPrompts[] = {64, 512, 2048};
constexpr int64_t kContexts[] = {512, 2048};
constexpr int64_t kStreamBytes = int64_t{256} << 20;  // several times the last cache

// Rows of values around 0, as float32 or float16.
std::vector<std::byte> Cache(DType dtype, int64_t bytes) {
  std::vector<std::byte> out(static_cast<size_t>(bytes));
  const int64_t element = DTypeBytes(dtype, 1);
  for (int64_t i = 0; i < bytes / element; ++i) {
    const auto value = static_cast<float>(i * 40503 % 1009) / 1009.0F - 0.5F;
    if (dtype == DType::kF16) {
      const uint16_t half = numerics::FloatToHalf(value);
      std::copy_n(reinterpret_cast<const std::byte*>(&half), 2, out.data() + 2 * i);
    } else {
      std::copy_n(reinterpret_cast<const std::byte*>(&value), 4, out.data() + 4 * i);
    }
  }
  return out;
}

void SetRate(benchmark::State& state, const char* unit, double amount) {
  state.counters[unit] = benchmark::Counter(amount * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
}

// One head of a prompt: row r attends to 0..r.
void Prompt(benchmark::State& state, const Kernels& kernels, DType dtype, int64_t rows) {
  const numerics::ScopedFlushToZero mode;
  const int64_t bytes = rows * DTypeBytes(dtype, kHeadDim);
  const std::vector<std::byte> keys = Cache(dtype, bytes);
  const std::vector<std::byte> values = Cache(dtype, bytes);
  const std::vector<float> q(static_cast<size_t>(rows * kHeadDim), 0.25F);
  std::vector<float> out(q.size());
  std::vector<AttentionRow> queries;
  for (int64_t r = 0; r < rows; ++r) {
    queries.push_back({q.data() + r * kHeadDim, r + 1, out.data() + r * kHeadDim});
  }
  std::vector<float> scratch(static_cast<size_t>(AttentionScratch(kAttentionRows, rows, kHeadDim)));
  for (auto _ : state) {
    for (int64_t r = 0; r < rows; r += kAttentionRows) {
      kernels.attention({.rows = queries.data() + r,
                         .row_count = std::min(kAttentionRows, rows - r),
                         .kv_dtype = dtype,
                         .keys = keys.data(),
                         .values = values.data(),
                         .head_dim = kHeadDim,
                         .scale = kScale,
                         .scratch = scratch.data()});
    }
    benchmark::DoNotOptimize(out.data());
  }
  SetRate(state, "GMAC/s", static_cast<double>(rows * (rows + 1) * kHeadDim));
}

// One row of every head of enough layers to leave the caches.
void Token(benchmark::State& state, const Kernels& kernels, DType dtype, int64_t context) {
  const numerics::ScopedFlushToZero mode;
  const int64_t head_bytes = context * DTypeBytes(dtype, kHeadDim);
  const int64_t heads = kStreamBytes / (2 * head_bytes * kHeads) * kHeads;
  const std::vector<std::byte> cache = Cache(dtype, 2 * heads * head_bytes);
  const std::vector<float> q(kHeadDim, 0.25F);
  std::vector<float> out(kHeadDim);
  std::vector<float> scratch(static_cast<size_t>(AttentionScratch(1, context, kHeadDim)));
  const AttentionRow row = {q.data(), context, out.data()};
  for (auto _ : state) {
    for (int64_t h = 0; h < heads; ++h) {
      kernels.attention({.rows = &row,
                         .row_count = 1,
                         .kv_dtype = dtype,
                         .keys = cache.data() + h * head_bytes,
                         .values = cache.data() + (heads + h) * head_bytes,
                         .head_dim = kHeadDim,
                         .scale = kScale,
                         .scratch = scratch.data()});
    }
    benchmark::DoNotOptimize(out.data());
  }
  SetRate(state, "GB/s", static_cast<double>(2 * heads * head_bytes));
}

// The `integer` attention's constants; a score's scale as a trained model has it.
struct IntegerSetup {
  IntegerSetup() {
    numerics::MakeExpTable(table);
    MakeProbabilityTable(table, probability_table);
    constants = {.to_steps = numerics::MakeFixedFactor(0.01),
                 .ratio = numerics::MakeFixedFactor(0.7),
                 .zero_point = 3,
                 .exp_table = table};
  }
  int32_t table[numerics::kExpTableSize];
  int16_t probability_table[kProbabilitySteps + 1];
  ref::AttentionConstants constants;
};

std::vector<int8_t> CacheS8(int64_t bytes) {
  std::vector<int8_t> out(static_cast<size_t>(bytes));
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] = static_cast<int8_t>(i * 40503 % 251 - 125);
  }
  return out;
}

void PromptS8(benchmark::State& state, const Kernels& kernels, int64_t rows) {
  const IntegerSetup setup;
  const std::vector<int8_t> keys = CacheS8(PaddedPositions(rows) * KeyDim(kHeadDim));
  const std::vector<int8_t> values = CacheS8(PaddedPositions(rows) * ValueDim(kHeadDim));
  const std::vector<int8_t> q = CacheS8(rows * kHeadDim);
  std::vector<int8_t> out(q.size());
  std::vector<AttentionRowS8> queries;
  for (int64_t r = 0; r < rows; ++r) {
    queries.push_back({q.data() + r * kHeadDim, r + 1, &setup.constants, out.data() + r * kHeadDim});
  }
  std::vector<int32_t> scratch(static_cast<size_t>(AttentionS8Scratch(rows, kHeadDim)));
  for (auto _ : state) {
    kernels.integer.attention({.rows = queries.data(),
                               .row_count = rows,
                               .keys = keys.data(),
                               .values = values.data(),
                               .head_dim = kHeadDim,
                               .probability_table = setup.probability_table,
                               .scratch = scratch.data()});
    benchmark::DoNotOptimize(out.data());
  }
  SetRate(state, "GMAC/s", static_cast<double>(rows * (rows + 1) * kHeadDim));
}

void TokenS8(benchmark::State& state, const Kernels& kernels, int64_t context) {
  const IntegerSetup setup;
  const int64_t head_bytes = PaddedPositions(context) * KeyDim(kHeadDim);
  const int64_t heads = kStreamBytes / (2 * head_bytes * kHeads) * kHeads;
  const std::vector<int8_t> cache = CacheS8(2 * heads * head_bytes);
  const std::vector<int8_t> q = CacheS8(kHeadDim);
  std::vector<int8_t> out(kHeadDim);
  std::vector<int32_t> scratch(static_cast<size_t>(AttentionS8Scratch(context, kHeadDim)));
  const AttentionRowS8 row = {q.data(), context, &setup.constants, out.data()};
  for (auto _ : state) {
    for (int64_t h = 0; h < heads; ++h) {
      kernels.integer.attention({.rows = &row,
                                 .row_count = 1,
                                 .keys = cache.data() + h * head_bytes,
                                 .values = cache.data() + (heads + h) * head_bytes,
                                 .head_dim = kHeadDim,
                                 .probability_table = setup.probability_table,
                                 .scratch = scratch.data()});
    }
    benchmark::DoNotOptimize(out.data());
  }
  SetRate(state, "GB/s", static_cast<double>(2 * heads * head_bytes));
}

#if defined(__x86_64__)
// The bound of a token: the same memory, read by 512-bit loads and nothing else.
__attribute__((target("avx512f"))) void Read(benchmark::State& state) {
  using Vector = int64_t __attribute__((vector_size(64)));
  const std::vector<std::byte> data = Cache(DType::kF32, kStreamBytes);
  for (auto _ : state) {
    Vector sum[4] = {};
    for (int64_t i = 0; i < kStreamBytes; i += 4 * static_cast<int64_t>(sizeof(Vector))) {
      for (int64_t j = 0; j < 4; ++j) {
        Vector v;
        __builtin_memcpy(&v, data.data() + i + j * static_cast<int64_t>(sizeof v), sizeof v);
        sum[j] ^= v;
      }
    }
    int64_t total = 0;
    for (const Vector& v : sum) {
      total ^= v[0] ^ v[7];
    }
    benchmark::DoNotOptimize(total);
  }
  SetRate(state, "GB/s", static_cast<double>(kStreamBytes));
}

// The bound of a prompt: products added to sums in registers, two roundings each, 512 bits wide.
__attribute__((target("avx512f"))) void MultiplyAdd(benchmark::State& state) {
  using Vector = float __attribute__((vector_size(64)));
  constexpr int kSums = 12;
  constexpr int64_t kSteps = 100000;
  Vector sum[kSums] = {};
  Vector a = {1.0F, 2.0F, 3.0F};
  Vector b = {0.5F, 0.25F, 0.125F};
  for (auto _ : state) {
    for (int64_t i = 0; i < kSteps; ++i) {
      asm volatile("" : "+v"(a), "+v"(b));
      for (Vector& s : sum) {
        s = s + a * b;
        asm volatile("" : "+v"(a));  // a new product each time
      }
    }
  }
  for (Vector& s : sum) {
    benchmark::DoNotOptimize(s);
  }
  SetRate(state, "GMAC/s", static_cast<double>(kSteps * kSums * 16));
}
#endif

void RegisterAll() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") != 0) {
    benchmark::RegisterBenchmark("peak/read", Read);
    benchmark::RegisterBenchmark("peak/multiply_add", MultiplyAdd);
  }
#endif
  for (const Kernels* kernels : AllKernels()) {
    if (!kernels->supported() || kernels == &kReferenceKernels) {
      continue;
    }
    for (const int64_t rows : kPrompts) {
      benchmark::RegisterBenchmark((std::string(kernels->isa) + "/I8/prompt/" + std::to_string(rows)).c_str(),
                                   [=](benchmark::State& state) { PromptS8(state, *kernels, rows); });
    }
    for (const int64_t context : kContexts) {
      benchmark::RegisterBenchmark((std::string(kernels->isa) + "/I8/token/" + std::to_string(context)).c_str(),
                                   [=](benchmark::State& state) { TokenS8(state, *kernels, context); });
    }
    for (const DType dtype : {DType::kF32, DType::kF16}) {
      const std::string name = std::string(kernels->isa) + "/" + std::string(DTypeName(dtype));
      for (const int64_t rows : kPrompts) {
        benchmark::RegisterBenchmark((name + "/prompt/" + std::to_string(rows)).c_str(),
                                     [=](benchmark::State& state) { Prompt(state, *kernels, dtype, rows); });
      }
      for (const int64_t context : kContexts) {
        benchmark::RegisterBenchmark((name + "/token/" + std::to_string(context)).c_str(),
                                     [=](benchmark::State& state) { Token(state, *kernels, dtype, context); });
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
