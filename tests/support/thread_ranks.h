#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "quant/ranks.h"

namespace phidias {

// Ranks that are threads of this process, for tests: what MPI does, without a launcher.
class ThreadRanks {
 public:
  explicit ThreadRanks(int size) : size_(size), pieces_(static_cast<size_t>(size)) {}

  // Runs `work` on every rank at once and waits for all.
  void Run(const std::function<void(Ranks&)>& work) {
    std::vector<std::thread> threads;
    for (int rank = 0; rank < size_; ++rank) {
      threads.emplace_back([this, rank, &work] {
        One ranks(this, rank);
        work(ranks);
      });
    }
    for (std::thread& thread : threads) {
      thread.join();
    }
  }

 private:
  class One final : public Ranks {
   public:
    One(ThreadRanks* all, int rank) : all_(all), rank_(rank) {}
    int rank() const override { return rank_; }
    int size() const override { return all_->size_; }
    Result<std::vector<std::string>> Exchange(const std::string& mine, const std::atomic<bool>*) override {
      return all_->Exchange(rank_, mine);
    }
    void Abort(int) override {}

   private:
    ThreadRanks* all_;
    int rank_;
  };

  std::vector<std::string> Exchange(int rank, const std::string& mine) {
    std::unique_lock lock(mutex_);
    const int round = round_;
    pieces_[static_cast<size_t>(rank)] = mine;
    if (++arrived_ == size_) {
      arrived_ = 0;
      result_ = pieces_;
      ++round_;
      all_here_.notify_all();
    }
    all_here_.wait(lock, [&] { return round_ != round; });
    return result_;  // the next round can't end before this rank has come to it
  }

  int size_;
  std::mutex mutex_;
  std::condition_variable all_here_;
  std::vector<std::string> pieces_;
  std::vector<std::string> result_;
  int arrived_ = 0;
  int round_ = 0;
};

}  // namespace phidias
