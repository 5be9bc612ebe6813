#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "sim/parameters.h"
#include "sim/time.h"

namespace phidias::sim {

// What happened at a memory bank.
struct BankCounts {
  int64_t read_bytes = 0;
  int64_t written_bytes = 0;
  Time transferring = 0;  // the bus moves data
  Time refreshing = 0;    // requests waited for a refresh
  Time activating = 0;    // requests waited for a row
  Time turning = 0;       // the bus changed direction
  int64_t row_hits = 0;
  int64_t row_misses = 0;
};

// One HBM2 pseudo channel: 64 data bits, 16 banks with a row of 1 KiB each, one request after the other on the bus,
// rows of later requests activated underneath (the controller looks ahead within what has arrived). All banks are
// refreshed together. Addresses: 1 KiB of a row, then 16 banks, then rows.
class HbmChannel {
 public:
  static constexpr int kBanks = 16;
  static constexpr int64_t kRowBytes = 1024;

  // Channels refresh at different times: the first refresh is at `refresh_phase`.
  HbmChannel(const Parameters& parameters, Time refresh_phase);

  // A burst that reaches the controller at `arrival`, no earlier than the one before. Returns when its last byte has
  // crossed the DRAM's pins.
  Time Access(Time arrival, int64_t address, int64_t bytes, bool write);

  const BankCounts& counts() const { return counts_; }

 private:
  struct Bank {
    int64_t row = -1;
    Time activated = -1'000'000'000;
    Time ready = 0;  // its row may be read
  };

  // Opens the row; returns when it may be read.
  Time OpenRow(Bank* bank, int64_t row, Time arrival);
  // The next moment from `time` on that isn't in a refresh.
  Time SkipRefresh(Time time);
  void Refresh();
  Time Transfer(Time begin, Time duration);

  Time byte_time_64_;  // of 64 bytes
  Time refi_, rfc_, rc_, rcd_, rp_, cl_, faw_, turnaround_;
  Time next_refresh_;
  Time bus_free_ = 0;
  bool last_was_write_ = false;
  std::array<Bank, kBanks> banks_;
  std::array<Time, 4> last_activations_;
  int oldest_activation_ = 0;
  BankCounts counts_;
};

// The crossbar in front of the channels (PG276): eight switches of four ports; towards each neighbour two connections,
// one for ports 0 and 1 of the switch and one for 2 and 3, each as fast as a port.
class HbmSwitch {
 public:
  static constexpr int kPortsPerSwitch = 4;
  static constexpr int kSwitches = 8;

  explicit HbmSwitch(const Parameters& parameters);

  // A burst from port `master` to channel `bank`: when it has crossed every connection on its way.
  Time Cross(Time now, int master, int bank, int64_t bytes);
  static int Hops(int master, int bank);

 private:
  Time byte_time_64_;
  Time hop_;
  // [boundary][direction][connection]
  std::array<std::array<std::array<Time, 2>, 2>, kSwitches - 1> free_{};
};

// Which memory, and which of its banks.
enum class MemoryKind : uint8_t { kHbm, kDdr, kPlram };
struct MemoryTarget {
  MemoryKind kind = MemoryKind::kHbm;
  int bank = 0;
  int master = 0;  // of HBM: the switch port that the kernel's port is attached to
};

// All memories of a card.
class Memories {
 public:
  Memories(const Parameters& parameters, int hbm_channels);

  // A burst issued at `now` (never earlier than the one before): when its last byte is at the kernel's port (read), or
  // when its response is there (write).
  Time Access(Time now, const MemoryTarget& target, int64_t address, int64_t bytes, bool write);

  const std::vector<HbmChannel>& hbm() const { return hbm_; }
  int64_t ddr_bytes() const { return ddr_bytes_; }
  int64_t plram_bytes() const { return plram_bytes_; }

 private:
  std::vector<HbmChannel> hbm_;
  HbmSwitch switch_;
  Time half_path_;
  Time hop_;
  Time ddr_latency_;
  Time plram_latency_;
  double ddr_gbs_;
  Time ddr_free_ = 0;
  int64_t ddr_bytes_ = 0;
  int64_t plram_bytes_ = 0;
};

// What a stream of long bursts gets of a channel: peak less refresh. GB/s.
double StreamingGbs(const Parameters& parameters);

}  // namespace phidias::sim
