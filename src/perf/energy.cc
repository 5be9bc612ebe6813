#include "perf/energy.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <system_error>

#include "common/file.h"

namespace phidias {
namespace {

std::optional<int64_t> ReadCounter(const std::string& path) {
  const Result<std::string> text = ReadFile(path, 4096);
  int64_t value = 0;
  if (!text.ok() || std::from_chars(text->data(), text->data() + text->size(), value).ec != std::errc() || value < 0) {
    return std::nullopt;
  }
  return value;
}

// "intel-rapl:0" is a package; "intel-rapl:0:1" a part of one, "intel-rapl-mmio:0" the same package once more.
bool IsPackage(const std::string& name) {
  return name.starts_with("intel-rapl:") && std::count(name.begin(), name.end(), ':') == 1;
}

}  // namespace

EnergyMeter::EnergyMeter(const std::string& root) {
  std::error_code error;
  for (std::filesystem::directory_iterator it(root, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    const std::string path = it->path().string() + "/energy_uj";
    const std::optional<int64_t> now = IsPackage(name) ? ReadCounter(path) : std::nullopt;
    if (now) {
      const std::optional<int64_t> range = ReadCounter(it->path().string() + "/max_energy_range_uj");
      zones_.push_back({.path = path, .range = range.value_or(0), .last = *now});
    }
  }
}

std::optional<double> EnergyMeter::JoulesSinceLast() {
  if (zones_.empty()) {
    return std::nullopt;
  }
  int64_t microjoules = 0;
  for (Zone& zone : zones_) {
    const std::optional<int64_t> now = ReadCounter(zone.path);
    if (!now || (*now < zone.last && zone.range == 0)) {
      return std::nullopt;
    }
    microjoules += *now >= zone.last ? *now - zone.last : *now + zone.range - zone.last;
    zone.last = *now;
  }
  return static_cast<double>(microjoules) * 1e-6;
}

}  // namespace phidias
