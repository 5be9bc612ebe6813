#include "emu/card/settings.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <optional>

namespace phidias::emu {
namespace {

const char* Variable(const char* name) {
  const char* const value = std::getenv(name);
  return value != nullptr ? value : "";
}

std::optional<uint64_t> ParseNumber(const std::string& text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() ? std::optional(value) : std::nullopt;
}

[[noreturn]] void Refuse(const char* variable, const std::string& why) {
  std::fprintf(stderr, "[u280-emu] %s: %s\n", variable, why.c_str());
  std::exit(2);
}

uint64_t Number(const char* name, uint64_t otherwise) {
  const std::string text = Variable(name);
  if (text.empty()) {
    return otherwise;
  }
  const auto value = ParseNumber(text);
  if (!value) {
    Refuse(name, "\"" + text + "\" is not a whole number");
  }
  return *value;
}

std::optional<FaultKind> KindOf(const std::string& name) {
  constexpr std::pair<const char*, FaultKind> kKinds[] = {
      {"hang", FaultKind::kHang}, {"error", FaultKind::kError}, {"buffer", FaultKind::kBuffer},
      {"sync", FaultKind::kSync}, {"busy", FaultKind::kBusy},   {"absent", FaultKind::kAbsent},
  };
  for (const auto& [text, kind] : kKinds) {
    if (name == text) {
      return kind;
    }
  }
  return std::nullopt;
}

bool ParseFault(const std::string& entry, Fault* fault) {
  std::string head = entry;
  if (const size_t at = head.find('@'); at != std::string::npos) {
    const auto count = ParseNumber(head.substr(at + 1));
    if (!count || *count == 0) {
      return false;
    }
    fault->count = *count;
    head.resize(at);
  }
  if (const size_t at = head.find(':'); at != std::string::npos) {
    fault->target = head.substr(at + 1);
    head.resize(at);
  }
  const auto kind = KindOf(head);
  fault->kind = kind.value_or(FaultKind::kHang);
  return kind.has_value();
}

}  // namespace

std::vector<Fault> ParseFaults(const std::string& text, std::string* error) {
  std::vector<Fault> faults;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find(';', at), text.size());
    const std::string entry = text.substr(at, end - at);
    Fault fault;
    if (!ParseFault(entry, &fault)) {
      *error = "\"" + entry + "\" is not KIND[:TARGET][@COUNT] with hang, error, buffer, sync, busy or absent";
      return {};
    }
    faults.push_back(fault);
    at = end + 1;
  }
  return faults;
}

Settings ReadSettings() {
  Settings settings;
  settings.strict = Number("PHIDIAS_EMU_STRICT", 0) != 0;
  settings.poison = Number("PHIDIAS_EMU_POISON", 1) != 0;
  settings.trace_path = Variable("PHIDIAS_EMU_TRACE");
  settings.report_path = Variable("PHIDIAS_EMU_REPORT");
  settings.launch_us = Number("PHIDIAS_EMU_LAUNCH_US", 0);
  settings.jitter_us = Number("PHIDIAS_EMU_JITTER_US", 0);
  settings.seed = Number("PHIDIAS_EMU_SEED", 1);
  std::string error;
  settings.faults = ParseFaults(Variable("PHIDIAS_EMU_FAULTS"), &error);
  if (!error.empty()) {
    Refuse("PHIDIAS_EMU_FAULTS", error);
  }
  return settings;
}

}  // namespace phidias::emu
