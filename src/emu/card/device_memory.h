#pragma once

// The card's memory: banks at their real addresses, buffers in them, and one view per port.
//
// A port sees device memory at addresses of its own, and only live buffers in the banks that it is wired to are there;
// for a port that only reads, they are write-protected. So a stray access of a kernel is a SIGSEGV that tells the port
// (a card would hang or trip the AXI firewall), and an address tells which port it came through.

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "emu/card/image.h"

namespace phidias::emu {

class DeviceMemory {
 public:
  static constexpr uint64_t kPageBytes = 4096;
  static constexpr uint64_t RoundUp(uint64_t bytes) { return (bytes + kPageBytes - 1) / kPageBytes * kPageBytes; }

  struct Allocation {
    uint64_t size = 0;
    int bank = 0;
    bool initialised = false;  // someone has written to it
  };

  explicit DeviceMemory(bool poison) : poison_(poison) {}
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;
  ~DeviceMemory() { Clear(); }

  // Memory for the banks, with nothing in it. False: the operating system has none.
  bool Create(const std::vector<Bank>& banks);
  // Unmaps everything. No kernel may be running.
  void Clear();

  // First fit in whole pages within the bank (or group), as the driver does it. `size`: a multiple of the page.
  std::optional<uint64_t> Allocate(int bank, uint64_t size);
  void Free(uint64_t address);
  // The buffer that an address lies in, or null; `first`: where it begins.
  Allocation* Find(uint64_t address, uint64_t* first = nullptr);

  // The single bank that an address lies in, never a group; -1 for none.
  int BankOf(uint64_t address) const;
  const std::vector<Bank>& banks() const { return banks_; }
  uint64_t peak_bytes(int bank) const { return peak_[bank]; }

  // The card's own access to a live buffer, for transfers.
  char* Direct(uint64_t address) const;

  // A port wired to these banks. Views are made before the first allocation and live until Clear().
  int AddView(const std::set<int>& banks, bool read_only, const std::string& port);
  // Where the port sees a device address of its banks; null for any other.
  char* Translate(int view, uint64_t address) const;

  struct Place {
    int view = -1;  // -1: not in a view
    uint64_t address = 0;
  };
  // What a kernel's pointer means. Async-signal-safe.
  Place Locate(const volatile void* pointer) const;
  const std::string& port(int view) const { return views_[view].port; }

 private:
  // Banks whose addresses touch lie in one piece of the file.
  struct Segment {
    uint64_t base = 0;
    uint64_t size = 0;
    uint64_t offset = 0;  // in the file
    char* host = nullptr;
  };
  struct View {
    std::string port;
    std::set<int> banks;
    bool read_only = false;
    uint64_t base = 0;  // device addresses base..base + size
    uint64_t size = 0;
    char* host = nullptr;
  };

  const Segment* SegmentOf(uint64_t address) const;
  bool Sees(const View& view, uint64_t address) const;
  void ShowIn(const View& view, uint64_t address, uint64_t size, bool visible) const;
  void CountUse(int bank, int64_t bytes);

  const bool poison_;
  int file_ = -1;
  std::vector<Bank> banks_;
  std::vector<Segment> segments_;
  std::vector<View> views_;
  std::map<uint64_t, Allocation> allocations_;  // by device address
  std::vector<uint64_t> used_;                  // bytes, by single bank
  std::vector<uint64_t> peak_;
};

// While it lives, a SIGSEGV inside one of the memory's views is told on stderr before it ends the process.
class StrayAccessReporter {
 public:
  explicit StrayAccessReporter(const DeviceMemory* memory);
  StrayAccessReporter(const StrayAccessReporter&) = delete;
  StrayAccessReporter& operator=(const StrayAccessReporter&) = delete;
  ~StrayAccessReporter();
};

}  // namespace phidias::emu
