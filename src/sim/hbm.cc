#include "sim/hbm.h"

#include <algorithm>
#include <cstdlib>

namespace phidias::sim {
namespace {

Time TransferTime(Time time_of_64, int64_t bytes) {
  return (time_of_64 * bytes + 63) / 64;
}

}  // namespace

HbmChannel::HbmChannel(const Parameters& parameters, Time refresh_phase)
    : byte_time_64_(FromNs(64 / parameters.hbm_peak_gbs)),
      refi_(FromNs(parameters.hbm_refi_ns)),
      rfc_(FromNs(parameters.hbm_rfc_ns)),
      rc_(FromNs(parameters.hbm_rc_ns)),
      rcd_(FromNs(parameters.hbm_rcd_ns)),
      rp_(FromNs(parameters.hbm_rp_ns)),
      cl_(FromNs(parameters.hbm_cl_ns)),
      faw_(FromNs(parameters.hbm_faw_ns)),
      turnaround_(FromNs(parameters.hbm_turnaround_ns)),
      next_refresh_(refresh_phase) {
  last_activations_.fill(-FromNs(1e6));
}

void HbmChannel::Refresh() {
  const Time end = next_refresh_ + rfc_;
  for (Bank& bank : banks_) {
    bank.row = -1;
    bank.activated = std::max(bank.activated, end - rc_);
  }
  next_refresh_ += refi_;
}

Time HbmChannel::SkipRefresh(Time time) {
  while (time >= next_refresh_) {
    const Time end = next_refresh_ + rfc_;
    if (time < end) {
      counts_.refreshing += end - time;
      time = end;
    }
    Refresh();
  }
  return time;
}

// A transfer stops where a refresh begins, and goes on after it.
Time HbmChannel::Transfer(Time begin, Time duration) {
  counts_.transferring += duration;
  Time end = begin + duration;
  while (next_refresh_ < end) {
    Refresh();
    counts_.refreshing += rfc_;
    end += rfc_;
  }
  return end;
}

Time HbmChannel::OpenRow(Bank* bank, int64_t row, Time arrival) {
  Time when = std::max(arrival + (bank->row >= 0 ? rp_ : 0), bank->activated + rc_);
  when = std::max(when, last_activations_[static_cast<size_t>(oldest_activation_)] + faw_);
  last_activations_[static_cast<size_t>(oldest_activation_)] = when;
  oldest_activation_ = (oldest_activation_ + 1) % 4;
  bank->row = row;
  bank->activated = when;
  bank->ready = when + rcd_;
  return bank->ready;
}

Time HbmChannel::Access(Time arrival, int64_t address, int64_t bytes, bool write) {
  (write ? counts_.written_bytes : counts_.read_bytes) += bytes;
  if (write != last_was_write_) {
    bus_free_ += turnaround_;
    counts_.turning += turnaround_;
    last_was_write_ = write;
  }
  arrival = SkipRefresh(arrival);
  while (bytes > 0) {
    const int64_t part = std::min(bytes, kRowBytes - address % kRowBytes);
    Bank& bank = banks_[static_cast<size_t>(address / kRowBytes % kBanks)];
    const int64_t row = address / kRowBytes / kBanks;
    const Time free = SkipRefresh(bus_free_);
    Time ready = bank.ready;
    if (bank.row == row) {
      ++counts_.row_hits;
    } else {
      ++counts_.row_misses;
      ready = OpenRow(&bank, row, arrival);
    }
    const Time data = std::max(free, std::max(ready, arrival) + cl_);
    if (ready + cl_ > free && ready > arrival) {
      counts_.activating += data - std::max(free, arrival);
    }
    bus_free_ = Transfer(SkipRefresh(data), TransferTime(byte_time_64_, part));
    address += part;
    bytes -= part;
  }
  return bus_free_;
}

HbmSwitch::HbmSwitch(const Parameters& parameters)
    : byte_time_64_(FromNs(64 / parameters.hbm_peak_gbs)), hop_(FromNs(parameters.switch_hop_ns / 2)) {}

int HbmSwitch::Hops(int master, int bank) {
  return std::abs(master / kPortsPerSwitch - bank / kPortsPerSwitch);
}

Time HbmSwitch::Cross(Time now, int master, int bank, int64_t bytes) {
  const int to = bank / kPortsPerSwitch;
  const auto connection = static_cast<size_t>(master % kPortsPerSwitch / 2);
  for (int at = master / kPortsPerSwitch; at != to; at += to > at ? 1 : -1) {
    const bool east = to > at;
    Time& free = free_[static_cast<size_t>(east ? at : at - 1)][east ? 1 : 0][connection];
    const Time begin = std::max(free, now);
    free = begin + TransferTime(byte_time_64_, bytes);
    now = begin + hop_;  // the first beat is on while the last comes
  }
  return now;
}

Memories::Memories(const Parameters& parameters, int hbm_channels)
    : switch_(parameters),
      half_path_(FromNs(parameters.hbm_path_ns / 2)),
      hop_(FromNs(parameters.switch_hop_ns / 2)),
      ddr_latency_(FromNs(parameters.ddr_latency_ns)),
      plram_latency_(FromNs(parameters.plram_latency_ns)),
      ddr_gbs_(parameters.ddr_gbs) {
  const Time refi = FromNs(parameters.hbm_refi_ns);
  for (int i = 0; i < hbm_channels; ++i) {
    hbm_.emplace_back(parameters, refi * (i + 1) / hbm_channels);
  }
}

Time Memories::Access(Time now, const MemoryTarget& target, int64_t address, int64_t bytes, bool write) {
  switch (target.kind) {
    case MemoryKind::kPlram: plram_bytes_ += bytes; return now + plram_latency_;
    case MemoryKind::kDdr:
      ddr_bytes_ += bytes;
      ddr_free_ = std::max(ddr_free_, now) + FromNs(static_cast<double>(bytes) / ddr_gbs_);
      return ddr_free_ + ddr_latency_;
    case MemoryKind::kHbm: break;
  }
  const Time arrival = switch_.Cross(now, target.master, target.bank, bytes) + half_path_;
  const Time end = hbm_[static_cast<size_t>(target.bank)].Access(arrival, address, bytes, write);
  return end + half_path_ + hop_ * HbmSwitch::Hops(target.master, target.bank);
}

double StreamingGbs(const Parameters& parameters) {
  return parameters.hbm_peak_gbs * (1 - parameters.hbm_rfc_ns / parameters.hbm_refi_ns);
}

}  // namespace phidias::sim
