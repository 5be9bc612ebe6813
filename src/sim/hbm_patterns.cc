#include "sim/hbm_patterns.h"

#include <algorithm>
#include <deque>
#include <vector>

namespace phidias::sim {
namespace {

constexpr int64_t kBankBytes = int64_t{256} << 20;
constexpr int64_t kTransactions = 20000;  // of each port

// One port's transactions, in the order in which it sends them.
class Sender {
 public:
  Sender(const Pattern& pattern, const MemoryTarget& target, bool write)
      : pattern_(pattern), target_(target), write_(write), random_(12345U + static_cast<uint64_t>(target.bank)) {}

  Time next() const { return next_; }
  bool done() const { return sent_ == kTransactions; }
  Time last() const { return last_; }
  double latency_sum() const { return latency_sum_; }

  void Send(Memories* memories) {
    if (pattern_.channels_of_port > 1) {
      const int bank = static_cast<int>(Random() % static_cast<uint64_t>(pattern_.channels_of_port));
      if (bank != target_.bank) {
        next_ = std::max(next_, last_);
        target_.bank = bank;
      }
    }
    const Time end = memories->Access(next_, target_, Address(), pattern_.bytes, write_);
    last_ = std::max(last_, end);
    latency_sum_ += ToSeconds(end - next_) * 1e9;
    under_way_.push_back(last_);
    Time earliest = next_ + FromNs(pattern_.issue_ns);
    if (std::ssize(under_way_) >= pattern_.outstanding) {
      earliest = std::max(earliest, under_way_.front());
      under_way_.pop_front();
    }
    next_ = earliest;
    ++sent_;
  }

 private:
  int64_t Address() {
    const int64_t stride = pattern_.stride > 0 ? pattern_.stride : pattern_.bytes;
    if (!pattern_.random) {
      return sent_ * stride % kBankBytes;
    }
    return static_cast<int64_t>(Random()) % (kBankBytes / pattern_.bytes) * pattern_.bytes;
  }
  uint64_t Random() {
    random_ = random_ * 6364136223846793005U + 1442695040888963407U;
    return random_ >> 33;
  }

  const Pattern& pattern_;
  MemoryTarget target_;
  bool write_;
  uint64_t random_;
  std::deque<Time> under_way_;
  int64_t sent_ = 0;
  Time next_ = 0;
  Time last_ = 0;
  double latency_sum_ = 0;
};

}  // namespace

PatternResult MeasurePattern(const Parameters& parameters, const Pattern& pattern) {
  const int channels = pattern.hops > 0 ? HbmSwitch::kSwitches * HbmSwitch::kPortsPerSwitch
                                        : std::max(pattern.channels, pattern.channels_of_port);
  Memories memories(parameters, channels);
  std::vector<Sender> senders;
  for (int i = 0; i < pattern.channels; ++i) {
    MemoryTarget target{MemoryKind::kHbm, i, i};
    if (pattern.hops > 0) {
      // Ports 0 and 1 of a switch share a connection, ports 0 and 2 don't.
      target.master = pattern.ports_per_connection == 2 ? i : 2 * i;
      target.bank = target.master + pattern.hops * HbmSwitch::kPortsPerSwitch;
    }
    senders.emplace_back(pattern, target, pattern.writes_half && i % 2 == 1);
  }
  // In the order of time, so that no request comes before one that was sent earlier.
  while (true) {
    Sender* first = nullptr;
    for (Sender& sender : senders) {
      if (!sender.done() && (first == nullptr || sender.next() < first->next())) {
        first = &sender;
      }
    }
    if (first == nullptr) {
      break;
    }
    first->Send(&memories);
  }
  PatternResult result;
  Time last = 0;
  for (const Sender& sender : senders) {
    last = std::max(last, sender.last());
    result.latency_ns += sender.latency_sum() / static_cast<double>(kTransactions * pattern.channels);
  }
  result.gbs = static_cast<double>(kTransactions * pattern.channels * pattern.bytes) / ToSeconds(last) * 1e-9;
  return result;
}

}  // namespace phidias::sim
