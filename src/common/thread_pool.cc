#include "common/thread_pool.h"

#include <algorithm>

namespace phidias {
namespace {

// About 20 microseconds: longer than the gap between two operators of a layer, far shorter than a person's notice.
constexpr int kSpins = 2000;

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
  for (int i = 0; i < kSpins; ++i) {
    if (value.load(std::memory_order_acquire) != old) {
      return;
    }
    Pause();
  }
  value.wait(old, std::memory_order_acquire);
}

}  // namespace

ThreadPool::ThreadPool(int threads, void (*thread_setup)()) : thread_setup_(thread_setup) {
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
  while (true) {
    const int64_t begin = next_.fetch_add(grain_, std::memory_order_relaxed);
    if (begin >= count_) {
      return;
    }
    call_(target_, begin, std::min(begin + grain_, count_), thread);
  }
}

void ThreadPool::WorkerLoop(int thread) {
  if (thread_setup_ != nullptr) {
    thread_setup_();
  }
  uint32_t seen = 0;
  while (true) {
    WaitWhile(epoch_, seen);
    ++seen;
    if (stop_.load()) {
      return;
    }
    Work(thread);
    if (busy_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      busy_.notify_one();
    }
  }
}

void ThreadPool::Run(int64_t count, int64_t grain, void* target, Call call) {
  if (count <= 0) {
    return;
  }
  grain = std::max<int64_t>(grain, 1);
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
  next_.store(0, std::memory_order_relaxed);
  busy_.store(static_cast<int32_t>(workers_.size()), std::memory_order_relaxed);
  epoch_.fetch_add(1, std::memory_order_release);
  epoch_.notify_all();
  Work(0);
  for (int32_t left = busy_.load(std::memory_order_acquire); left != 0; left = busy_.load(std::memory_order_acquire)) {
    WaitWhile(busy_, left);
  }
}

}  // namespace phidias
