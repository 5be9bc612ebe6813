#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace phidias {
namespace hls {
namespace csim {

// Threads for the stages of simulated kernels. Every job has a thread at once, as stages wait for each other; threads
// that have ended a job are kept for the next.
class ThreadPool {
 public:
  static ThreadPool& Shared();

  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  void Run(void (*job)(void*), void* argument);

 private:
  struct Worker {
    std::thread thread;
    std::condition_variable wake;
    void (*job)(void*) = nullptr;
    void* argument = nullptr;
  };

  ThreadPool() = default;
  void Loop(Worker& self);

  std::mutex mutex_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::vector<Worker*> idle_;  // the last to have worked comes first: its stack is in the cache
  bool stopping_ = false;
};

}  // namespace csim
}  // namespace hls
}  // namespace phidias
