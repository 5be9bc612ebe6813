// What the machine can do, by number of threads: reading memory, and int8 products in registers with each instruction
// set. The bounds that docs/bench.md measures a model against.
#include <benchmark/benchmark.h>

#include <string>

#include "backend/cpu/cpu_options.h"
#include "perf/int8_peak.h"
#include "perf/memory_bandwidth.h"

namespace phidias {
namespace {

void ReadMemory(benchmark::State& state) {
  Result<MemoryBandwidth> bandwidth = MemoryBandwidth::Create(static_cast<int>(state.range(0)), int64_t{1} << 30);
  if (!bandwidth.ok()) {
    state.SkipWithError(bandwidth.status().message().c_str());
    return;
  }
  for (auto _ : state) {
    benchmark::DoNotOptimize(bandwidth->Measure());
  }
  state.SetLabel(std::to_string(bandwidth->streams()) + " streams each");
  state.counters["GB/s"] =
      benchmark::Counter(static_cast<double>(bandwidth->bytes()) * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
}

void Products(benchmark::State& state, const Int8Peak& peak) {
  Int8PeakMeter meter(peak, static_cast<int>(state.range(0)));
  double sum = 0;
  for (auto _ : state) {
    sum += meter.Measure();
  }
  state.counters["GOP/s"] = sum / static_cast<double>(state.iterations());
}

void RegisterAll() {
  const int threads = AvailableProcessors();
  const auto by_threads = [threads](benchmark::internal::Benchmark* bench) {
    bench->ArgName("threads")->Arg(1)->UseRealTime()->Unit(benchmark::kMillisecond);
    if (threads > 1) {
      bench->Arg(threads);
    }
  };
  by_threads(benchmark::RegisterBenchmark("read", ReadMemory));
  for (const Int8Peak* peak : AllInt8Peaks()) {
    if (peak->supported()) {
      by_threads(benchmark::RegisterBenchmark((std::string("int8/") + peak->name).c_str(),
                                              [peak](benchmark::State& state) { Products(state, *peak); }));
    }
  }
}

}  // namespace
}  // namespace phidias

int main(int argc, char** argv) {
  phidias::RegisterAll();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) {
    return 2;
  }
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
