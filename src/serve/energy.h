#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

namespace phidias::serve {

// The energy that the processor packages have taken, from the counters of Linux's powercap (RAPL). They are there on
// bare metal and usually readable by root alone.
class EnergyMeter {
 public:
  // `root` stands before every path read ("" for the real system).
  explicit EnergyMeter(std::string root = "") : root_(std::move(root)) { Read(); }

  // Joules since the meter was made; none where no counter can be read. To be asked more often than the counters wrap
  // around (about every half hour under load).
  std::optional<double> Joules();

 private:
  void Read();

  std::string root_;
  std::map<std::string, uint64_t> last_;  // counters by their folders
  uint64_t microjoules_ = 0;
};

}  // namespace phidias::serve
