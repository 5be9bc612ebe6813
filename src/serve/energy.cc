#include "serve/energy.h"

#include <charconv>

#include "common/file.h"

namespace phidias::serve {
namespace {

constexpr size_t kMaxFileBytes = 64;
constexpr int kMaxPackages = 64;

std::optional<uint64_t> ReadNumber(const std::string& path) {
  const Result<std::string> text = ReadFile(path, kMaxFileBytes);
  if (!text.ok()) {
    return std::nullopt;
  }
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), number);
  return error == std::errc() ? std::optional(number) : std::nullopt;
}

}  // namespace

void EnergyMeter::Read() {
  for (int package = 0; package < kMaxPackages; ++package) {
    const std::string folder = root_ + "/sys/class/powercap/intel-rapl:" + std::to_string(package);
    const std::optional<uint64_t> now = ReadNumber(folder + "/energy_uj");
    if (!now.has_value()) {
      break;
    }
    const auto [it, fresh] = last_.emplace(folder, *now);
    if (!fresh) {
      const uint64_t range = ReadNumber(folder + "/max_energy_range_uj").value_or(0);
      microjoules_ += *now >= it->second ? *now - it->second : *now + range - it->second;
      it->second = *now;
    }
  }
}

std::optional<double> EnergyMeter::Joules() {
  Read();
  return last_.empty() ? std::nullopt : std::optional(static_cast<double>(microjoules_) * 1e-6);
}

}  // namespace phidias::serve
