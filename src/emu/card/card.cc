#include "emu/card/card.h"

#include <sys/mman.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <functional>

#include "common/str.h"

namespace phidias::emu {
namespace {

// The card whose kernels run: there is one, as in the machine that this stands for.
std::atomic<Card*> loaded_card{nullptr};

std::mutex report_mutex;
std::string report_of_closed_card;

// "HBM[4:7]" of the banks that a port is wired to.
std::string BankNames(const Argument& argument, const std::vector<Bank>& banks) {
  std::string names;
  for (const int index : argument.banks) {
    const Bank& bank = banks[index];
    if (!bank.IsGroup()) {
      names += (names.empty() ? "" : " ") + bank.tag;
    }
  }
  return names;
}

}  // namespace

Card::Card(Settings settings)
    : settings_(std::move(settings)),
      violations_(settings_.strict),
      trace_(settings_.trace_path),
      memory_(settings_.poison) {
  for (const Fault& fault : settings_.faults) {
    faults_.push_back({fault, 0});
  }
}

Card::~Card() {
  Unload();
  for (const auto& [handle, buffer] : buffers_) {
    if (buffer.owns_host) {
      munmap(buffer.host, DeviceMemory::RoundUp(buffer.size));
    }
  }
}

void Card::Warn(const std::string& what) const {
  std::fprintf(stderr, "[u280-emu] %s\n", what.c_str());
}

bool Card::Strikes(FaultKind kind, const std::string& target) {
  bool strikes = false;
  for (CountedFault& entry : faults_) {
    const Fault& fault = entry.fault;
    if (fault.kind == kind && (fault.target.empty() || fault.target == target)) {
      strikes |= ++entry.seen == fault.count || kind == FaultKind::kBusy;
    }
  }
  return strikes;
}

int Card::LoadXclbin(const axlf* top) {
  Unload();
  if (Strikes(FaultKind::kBusy, "")) {
    Warn("busy: another process holds the card (a fault asked for)");
    return -EBUSY;
  }
  Card* none = nullptr;
  if (!loaded_card.compare_exchange_strong(none, this)) {
    Warn("busy: this process has loaded an xclbin through another handle");
    return -EBUSY;
  }
  Image image;
  std::string error;
  if (!LoadImage(top, &Card::OnMemory, &image, &error)) {
    Warn(error);
    loaded_card = nullptr;
    return -EINVAL;
  }
  if (!memory_.Create(image.banks) || !CreateUnits(std::move(image))) {
    Warn("the operating system has no address space for the card's memory");
    Unload();
    return -ENOMEM;
  }
  reporter_ = std::make_unique<StrayAccessReporter>(&memory_);
  return 0;
}

bool Card::CreateUnits(Image image) {
  library_ = std::move(image.library);
  for (UnitImage& unit_image : image.units) {
    auto unit = std::make_unique<Unit>();
    unit->random.seed(settings_.seed ^ std::hash<std::string>()(unit_image.name));
    for (const Argument& argument : unit_image.arguments) {
      int view = -1;
      if (argument.is_memory && !argument.banks.empty()) {
        view = memory_.AddView(argument.banks, !argument.writes, unit_image.unit() + "." + argument.name);
        if (view < 0) {
          return false;
        }
      }
      unit->views.push_back(view);
    }
    unit->image = std::move(unit_image);
    units_.push_back(std::move(unit));
  }
  CreateCounts();
  system_ = System();
  system_.streams = std::move(image.streams);
  system_.run = image.run_system;
  for (const auto& unit : units_) {
    if (!unit->image.by_itself) {
      unit->thread = std::thread(&Card::Loop, this, unit.get());
    }
  }
  return true;
}

void Card::CreateCounts() {
  const std::lock_guard<std::mutex> lock(mutex_);
  counts_ = Counts();
  counts_.units.reserve(units_.size());
  size_t views = 0;
  for (const auto& unit : units_) {
    UnitCount& count = counts_.units.emplace_back();
    count.name = unit->image.unit();
    count.ports.reserve(unit->views.size());
    for (size_t i = 0; i < unit->views.size(); ++i) {
      if (unit->views[i] >= 0) {
        const Argument& argument = unit->image.arguments[i];
        count.ports.emplace_back(argument.name, BankNames(argument, memory_.banks()));
        ++views;
      }
    }
  }
  count_of_view_.assign(views, nullptr);
  for (size_t i = 0; i < units_.size(); ++i) {
    size_t port = 0;
    for (const int view : units_[i]->views) {
      if (view >= 0) {
        count_of_view_[view] = &counts_.units[i].ports[port++];
      }
    }
  }
  for (const Bank& bank : memory_.banks()) {
    counts_.banks.emplace_back(bank.tag, bank.size);
  }
}

void Card::Unload() {
  if (units_.empty() && loaded_card.load() != this) {
    return;
  }
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
    StopSystem();
  }
  work_.notify_all();
  for (const auto& unit : units_) {
    if (unit->thread.joinable()) {
      unit->thread.join();
    }
  }
  const std::string report = Report();
  if (settings_.report_path == "-") {
    std::fprintf(stderr, "%s\n", report.c_str());
  } else if (!settings_.report_path.empty()) {
    if (std::FILE* const file = std::fopen(settings_.report_path.c_str(), "w")) {
      std::fprintf(file, "%s\n", report.c_str());
      std::fclose(file);
    } else {
      Warn("cannot write the report to " + settings_.report_path);
    }
  }
  {
    const std::lock_guard<std::mutex> lock(report_mutex);
    report_of_closed_card = report;
    loaded_card = nullptr;
  }
  reporter_.reset();
  units_.clear();
  count_of_view_.clear();
  memory_.Clear();
  library_.reset();
  stopping_ = false;
}

void Card::OnMemory(const volatile void* address, uint64_t bytes, bool write) {
  if (Card* const card = loaded_card.load()) {
    card->CountMemory(address, bytes, write);
  }
}

void Card::CountMemory(const volatile void* address, uint64_t bytes, bool write) {
  const DeviceMemory::Place place = memory_.Locate(address);
  if (place.view < 0) {
    return;
  }
  PortCount& port = *count_of_view_[place.view];
  (write ? port.written : port.read).fetch_add(bytes, std::memory_order_relaxed);
  const int bank = memory_.BankOf(place.address);
  if (bank >= 0) {
    BankCount& count = counts_.banks[bank];
    (write ? count.written : count.read).fetch_add(bytes, std::memory_order_relaxed);
  }
}

std::string Card::Report() {
  const std::lock_guard<std::mutex> lock(mutex_);
  for (size_t i = 0; i < counts_.banks.size(); ++i) {
    counts_.banks[i].peak_bytes = memory_.peak_bytes(static_cast<int>(i));
  }
  return ReportJson(counts_);
}

std::string Card::LatestReport() {
  const std::lock_guard<std::mutex> lock(report_mutex);
  Card* const card = loaded_card.load();
  return card != nullptr ? card->Report() : report_of_closed_card;
}

}  // namespace phidias::emu
