#include "common/thread_pool.h"

#include <algorithm>
#include <chrono>

#include "common/processors.h"

namespace phidias {
namespace {

// How long to spin, and then to spin while giving the processor to whoever wants it, before going to sleep. Waking a
// sleeper takes some 50 microseconds, which a gap of half as many may not cost; docs/performance.md has the
// measurement.
constexpr std::chrono::microseconds kSpin{20};
constexpr std::chrono::microseconds kSpinAndYield{300};
constexpr int kSpinsPerLook = 32;  // at the clock

constexpr int kRangeBits = 24;
constexpr uint64_t kRangeMask = (uint64_t{1} << kRangeBits) - 1;

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  std::this_thread::yield();
#endif
}

// Waits until `value` is no longer `old`: spinning first, then asleep.
template <class T>
void WaitWhile(const std::atomic<T>& value, T old) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point start = Clock::now();
  Clock::duration waited{};
  while (waited < kSpinAndYield) {
    for (int i = 0; i < kSpinsPerLook; ++i) {
      if (value.load(std::memory_order_acquire) != old) {
        return;
      }
      Pause();
    }
    waited = Clock::now() - start;
    if (waited >= kSpin) {
      std::this_thread::yield();
    }
  }
  value.wait(old, std::memory_order_acquire);
}

}  // namespace

ThreadPool::ThreadPool(int threads, void (*thread_setup)(), std::vector<int> cpus)
    : thread_setup_(thread_setup), cpus_(std::move(cpus)) {
  if (!cpus_.empty()) {
    (void)PinThread(cpus_);
  }
  for (int i = 1; i < threads; ++i) {
    workers_.emplace_back([this, i] { WorkerLoop(i); });
  }
}

ThreadPool::~ThreadPool() {
  stop_.store(true);
  epoch_.fetch_add(1, std::memory_order_release);
  epoch_.notify_all();
  for (std::thread& worker : workers_) {
    worker.join();
  }
}

void ThreadPool::Work(int thread) {
  uint64_t claims = claims_.load(std::memory_order_acquire);
  while (true) {
    const uint64_t next = claims & kRangeMask;
    if (next >= ((claims >> kRangeBits) & kRangeMask)) {
      return;
    }
    if (!claims_.compare_exchange_weak(claims, claims + 1, std::memory_order_acq_rel, std::memory_order_acquire)) {
      continue;
    }
    const int64_t begin = static_cast<int64_t>(next) * grain_;
    call_(target_, begin, std::min(begin + grain_, count_), thread);
    if (unfinished_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      unfinished_.notify_one();
    }
    claims = claims_.load(std::memory_order_acquire);
  }
}

void ThreadPool::WorkerLoop(int thread) {
  if (!cpus_.empty()) {
    (void)PinThread({cpus_[static_cast<size_t>(thread) % cpus_.size()]});
  }
  if (thread_setup_ != nullptr) {
    thread_setup_();
  }
  uint32_t seen = 0;
  while (true) {
    WaitWhile(epoch_, seen);
    seen = epoch_.load(std::memory_order_acquire);
    if (stop_.load()) {
      return;
    }
    Work(thread);
  }
}

void ThreadPool::Run(int64_t count, int64_t grain, void* target, Call call) {
  if (count <= 0) {
    return;
  }
  grain = std::max<int64_t>({grain, 1, count >> (kRangeBits - 1)});
  if (workers_.empty() || count <= grain) {
    for (int64_t begin = 0; begin < count; begin += grain) {
      call(target, begin, std::min(begin + grain, count), 0);
    }
    return;
  }
  target_ = target;
  call_ = call;
  count_ = count;
  grain_ = grain;
  const int64_t ranges = (count + grain - 1) / grain;
  unfinished_.store(ranges, std::memory_order_relaxed);
  const uint64_t tag = (claims_.load(std::memory_order_relaxed) >> (2 * kRangeBits)) + 1;
  claims_.store((tag << (2 * kRangeBits)) | (static_cast<uint64_t>(ranges) << kRangeBits), std::memory_order_release);
  epoch_.fetch_add(1, std::memory_order_release);
  epoch_.notify_all();
  Work(0);
  for (int64_t left = unfinished_.load(std::memory_order_acquire); left != 0;
       left = unfinished_.load(std::memory_order_acquire)) {
    WaitWhile(unfinished_, left);
  }
}

}  // namespace phidias
