#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace phidias {

// The processor packages' energy counters (Linux powercap: Intel's RAPL, and AMD's by the same driver). They count the
// whole package, whoever uses it, and are often readable by root alone or, in virtual machines, not there at all.
class EnergyMeter {
 public:
  explicit EnergyMeter(const std::string& root = "/sys/class/powercap");

  bool readable() const { return !zones_.empty(); }
  // Joules since the last call (the first: since the construction); nullopt where nothing is readable. Must be called
  // before a counter wraps twice, which takes minutes at full load.
  std::optional<double> JoulesSinceLast();

 private:
  struct Zone {
    std::string path;   // of energy_uj
    int64_t range = 0;  // where the counter wraps, microjoules
    int64_t last = 0;
  };
  std::vector<Zone> zones_;
};

}  // namespace phidias
