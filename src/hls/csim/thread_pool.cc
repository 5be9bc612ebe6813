#include "hls/csim/thread_pool.h"

namespace phidias {
namespace hls {
namespace csim {

ThreadPool& ThreadPool::Shared() {
  static ThreadPool pool;
  return pool;
}

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
    for (const auto& worker : workers_) {
      worker->wake.notify_one();
    }
  }
  for (const auto& worker : workers_) {
    worker->thread.join();
  }
}

void ThreadPool::Run(void (*job)(void*), void* argument) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (idle_.empty()) {
    workers_.push_back(std::make_unique<Worker>());
    Worker& worker = *workers_.back();
    worker.job = job;
    worker.argument = argument;
    worker.thread = std::thread([this, &worker] { Loop(worker); });
    return;
  }
  Worker& worker = *idle_.back();
  idle_.pop_back();
  worker.job = job;
  worker.argument = argument;
  worker.wake.notify_one();
}

void ThreadPool::Loop(Worker& self) {
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    self.wake.wait(lock, [&] { return stopping_ || self.job != nullptr; });
    if (self.job == nullptr) {
      return;
    }
    lock.unlock();
    self.job(self.argument);
    lock.lock();
    self.job = nullptr;
    idle_.push_back(&self);
  }
}

}  // namespace csim
}  // namespace hls
}  // namespace phidias
