#pragma once

// What happened on the card: counts, violations, and a trace that chrome://tracing and Perfetto read. Thread-safe.

#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

namespace phidias::emu {

struct PortCount {
  std::string name;
  std::string banks;  // "HBM[0]", "HBM[4:7]"
  std::atomic<uint64_t> read{0};
  std::atomic<uint64_t> written{0};

  PortCount(std::string port, std::string wired_to) : name(std::move(port)), banks(std::move(wired_to)) {}
  PortCount(PortCount&& other) noexcept
      : name(std::move(other.name)),
        banks(std::move(other.banks)),
        read(other.read.load()),
        written(other.written.load()) {}
};

struct UnitCount {
  std::string name;
  uint64_t runs = 0;
  double busy_us = 0;
  std::vector<PortCount> ports;
};

struct BankCount {
  std::string tag;
  uint64_t size = 0;
  uint64_t peak_bytes = 0;        // of live buffers
  std::atomic<uint64_t> read{0};  // by kernels
  std::atomic<uint64_t> written{0};
  uint64_t to_device = 0;  // by transfers
  uint64_t from_device = 0;

  BankCount(std::string bank_tag, uint64_t bank_size) : tag(std::move(bank_tag)), size(bank_size) {}
  BankCount(BankCount&& other) noexcept
      : tag(std::move(other.tag)),
        size(other.size),
        peak_bytes(other.peak_bytes),
        read(other.read.load()),
        written(other.written.load()),
        to_device(other.to_device),
        from_device(other.from_device) {}
};

struct Counts {
  std::vector<UnitCount> units;
  std::vector<BankCount> banks;
  uint64_t overlapping_starts = 0;  // runs that began while another unit ran
  uint64_t shared_bank_starts = 0;  // of those, the ones that touched a bank that the other one used
};

// The report as JSON: units with their ports, banks that were used, violations.
std::string ReportJson(const Counts& counts);

// "0x1f0000000".
std::string Hex(uint64_t value);

// Tells a violation on stderr and counts it; in strict mode that is the end of the process.
class Violations {
 public:
  explicit Violations(bool strict) : strict_(strict) {}
  void Add(const std::string& what);

  // Of the whole process, over all cards.
  static uint64_t total();

 private:
  const bool strict_;
};

class Trace {
 public:
  using Clock = std::chrono::steady_clock;

  // No path: records nothing.
  explicit Trace(std::string path) : path_(std::move(path)), start_(Clock::now()) {}
  Trace(const Trace&) = delete;
  Trace& operator=(const Trace&) = delete;
  ~Trace() { Write(); }

  // One row of the picture per `track`. `details`: JSON members, or empty.
  void Add(const std::string& track, const std::string& name, Clock::time_point begin, Clock::time_point end,
           const std::string& details);

 private:
  struct Event {
    size_t track;
    std::string name;
    Clock::time_point begin;
    Clock::time_point end;
    std::string details;
  };

  void Write();
  double Microseconds(Clock::time_point time) const;

  const std::string path_;
  const Clock::time_point start_;
  std::mutex mutex_;
  std::vector<std::string> tracks_;
  std::vector<Event> events_;
};

}  // namespace phidias::emu
