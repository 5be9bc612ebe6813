#include "emu/card/recorder.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "common/str.h"

namespace phidias::emu {
namespace {

std::atomic<uint64_t> violation_total{0};

std::string Fixed(double value) {
  char text[64];
  std::snprintf(text, sizeof text, "%.3f", value);
  return text;
}

template <class Items, class Writer>
std::string JsonArray(const Items& items, Writer&& write) {
  std::string text(1, '[');
  for (const auto& item : items) {
    if (text.size() > 1) {
      text.push_back(',');
    }
    text.append(write(item));
  }
  text.push_back(']');
  return text;
}

std::string PortJson(const PortCount& port) {
  return StrCat("{\"port\":\"", port.name, "\",\"banks\":\"", port.banks, "\",\"read\":", port.read,
                ",\"written\":", port.written, "}");
}

std::string UnitJson(const UnitCount& unit) {
  return StrCat("{\"unit\":\"", unit.name, "\",\"runs\":", unit.runs, ",\"busy_us\":", Fixed(unit.busy_us),
                ",\"ports\":", JsonArray(unit.ports, PortJson), "}");
}

std::string BankJson(const BankCount& bank) {
  return StrCat("{\"bank\":\"", bank.tag, "\",\"bytes\":", bank.size, ",\"peak_bytes\":", bank.peak_bytes,
                ",\"read\":", bank.read, ",\"written\":", bank.written, ",\"to_device\":", bank.to_device,
                ",\"from_device\":", bank.from_device, "}");
}

}  // namespace

std::string ReportJson(const Counts& counts) {
  std::vector<const BankCount*> used;
  for (const BankCount& bank : counts.banks) {
    if (bank.peak_bytes > 0) {
      used.push_back(&bank);
    }
  }
  return StrCat("{\"units\":", JsonArray(counts.units, UnitJson),
                ",\"banks\":", JsonArray(used, [](const BankCount* bank) { return BankJson(*bank); }),
                ",\"overlapping_starts\":", counts.overlapping_starts,
                ",\"shared_bank_starts\":", counts.shared_bank_starts, ",\"violations\":", Violations::total(), "}");
}

std::string Hex(uint64_t value) {
  char text[32];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(value));
  return text;
}

void Violations::Add(const std::string& what) {
  violation_total.fetch_add(1);
  std::fprintf(stderr, "[u280-emu] VIOLATION: %s\n", what.c_str());
  if (strict_) {
    std::abort();
  }
}

uint64_t Violations::total() {
  return violation_total.load();
}

void Trace::Add(const std::string& track, const std::string& name, Clock::time_point begin, Clock::time_point end,
                const std::string& details) {
  if (path_.empty()) {
    return;
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  auto found = std::find(tracks_.begin(), tracks_.end(), track);
  if (found == tracks_.end()) {
    found = tracks_.insert(tracks_.end(), track);
  }
  events_.push_back({static_cast<size_t>(found - tracks_.begin()), name, begin, end, details});
}

double Trace::Microseconds(Clock::time_point time) const {
  return std::chrono::duration<double, std::micro>(time - start_).count();
}

void Trace::Write() {
  if (path_.empty() || events_.empty()) {
    return;
  }
  std::FILE* const file = std::fopen(path_.c_str(), "w");
  if (file == nullptr) {
    std::fprintf(stderr, "[u280-emu] cannot write the trace to %s\n", path_.c_str());
    return;
  }
  std::fputs("{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n", file);
  std::fputs("{\"ph\":\"M\",\"pid\":1,\"name\":\"process_name\",\"args\":{\"name\":\"u280-emu\"}}", file);
  for (size_t i = 0; i < tracks_.size(); ++i) {
    std::fprintf(file, ",\n{\"ph\":\"M\",\"pid\":1,\"tid\":%zu,\"name\":\"thread_name\",\"args\":{\"name\":\"%s\"}}",
                 i + 1, tracks_[i].c_str());
  }
  for (const Event& event : events_) {
    std::fprintf(file, ",\n{\"ph\":\"X\",\"pid\":1,\"tid\":%zu,\"name\":\"%s\",\"ts\":%.3f,\"dur\":%.3f,\"args\":{%s}}",
                 event.track + 1, event.name.c_str(), Microseconds(event.begin),
                 std::chrono::duration<double, std::micro>(event.end - event.begin).count(), event.details.c_str());
  }
  std::fputs("\n]}\n", file);
  std::fclose(file);
}

}  // namespace phidias::emu
