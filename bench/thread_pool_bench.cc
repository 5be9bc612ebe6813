// What a parallel loop costs beyond its work: ParallelFor with ranges that do nothing, at once after the last one (a
// model's operators) and after pauses in which the workers spin, yield or sleep.
#include <benchmark/benchmark.h>

#include <chrono>
#include <thread>

#include "common/processors.h"
#include "common/thread_pool.h"

namespace phidias {
namespace {

void Dispatch(benchmark::State& state) {
  using Clock = std::chrono::steady_clock;
  ThreadPool pool(AvailableProcessors());
  const std::chrono::microseconds pause(state.range(0));
  for (auto _ : state) {
    const Clock::time_point start = Clock::now();
    while (Clock::now() - start < pause) {
    }
    const Clock::time_point begin = Clock::now();
    pool.ParallelFor(4 * pool.size(), 1,
                     [](int64_t begin_item, int64_t, int) { benchmark::DoNotOptimize(begin_item); });
    state.SetIterationTime(std::chrono::duration<double>(Clock::now() - begin).count());
  }
}
BENCHMARK(Dispatch)->Arg(0)->Arg(5)->Arg(50)->Arg(200)->Arg(1000)->UseManualTime();

}  // namespace
}  // namespace phidias

BENCHMARK_MAIN();
