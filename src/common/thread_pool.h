#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

namespace phidias {

// A fixed set of threads that run one loop at a time. The calling thread works too, so ThreadPool(1) has no other
// thread. Between loops workers first spin (a model's operators follow each other within microseconds), then spin and
// yield (the step from one token to the next takes up to a few hundred), then sleep.
class ThreadPool {
 public:
  // `thread_setup` runs once at the start of each worker thread. With `cpus`, worker i runs on cpus[i % size] alone and
  // the constructing thread on any of them; CPUs that the system refuses are ignored.
  explicit ThreadPool(int threads, void (*thread_setup)() = nullptr, std::vector<int> cpus = {});
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls fn(begin, end, thread) for disjoint ranges that cover [0, count); every range but the last has `grain`
  // elements, thread is 0..size()-1. Ranges are handed out in order to whoever is free, so fn's result must not depend
  // on who runs what. fn must not throw and must not call ParallelFor. Returns when all is done. One caller at a time.
  template <class Fn>
  void ParallelFor(int64_t count, int64_t grain, Fn&& fn) {
    using Plain = std::remove_reference_t<Fn>;
    Run(count, grain, const_cast<void*>(static_cast<const void*>(&fn)),
        [](void* target, int64_t begin, int64_t end, int thread) {
          (*static_cast<Plain*>(target))(begin, end, thread);
        });
  }

 private:
  using Call = void (*)(void* target, int64_t begin, int64_t end, int thread);
  void Run(int64_t count, int64_t grain, void* target, Call call);
  void Work(int thread);
  void WorkerLoop(int thread);

  void (*thread_setup_)();
  std::vector<int> cpus_;
  std::vector<std::thread> workers_;

  // The loop in progress. Written only while no range of an earlier loop is out; read by whoever has claimed a range.
  void* target_ = nullptr;
  Call call_ = nullptr;
  int64_t count_ = 0;
  int64_t grain_ = 1;

  // Claims: 16 bits that change with every loop, 24 bits for the number of ranges, 24 for the next to hand out. A range
  // is claimed by raising the last by compare-and-swap, so a worker that wakes late either takes part in the loop that
  // is running now or finds nothing to do: the caller never waits for a thread that has no range.
  std::atomic<uint64_t> claims_{0};
  std::atomic<int64_t> unfinished_{0};  // ranges of this loop that are not done
  std::atomic<uint32_t> epoch_{0};      // raised for every loop; what idle workers sleep on
  std::atomic<bool> stop_{false};
};

}  // namespace phidias
