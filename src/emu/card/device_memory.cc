#include "emu/card/device_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstring>

namespace phidias::emu {
namespace {

constexpr int kPoison = 0xA5;
constexpr uint64_t kPoisonBytes = uint64_t{16} << 20;  // of each buffer: more would only take time

// Address space without memory behind it. By system call: the sanitizers' own mmap would clear their bookkeeping for
// the whole range, which takes seconds for the 16 GB of a DDR bank.
char* Reserve(uint64_t bytes, char* at = nullptr) {
  const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (at != nullptr ? MAP_FIXED : 0);
  const long address = syscall(SYS_mmap, at, bytes, PROT_NONE, flags, -1, 0);
  return address == -1 ? nullptr : reinterpret_cast<char*>(address);
}

bool MapFile(char* at, uint64_t bytes, int protection, int file, uint64_t offset) {
  return syscall(SYS_mmap, at, bytes, protection, MAP_SHARED | MAP_FIXED, file, offset) != -1;
}

}  // namespace

bool DeviceMemory::Create(const std::vector<Bank>& banks) {
  Clear();
  banks_ = banks;
  used_.assign(banks.size(), 0);
  peak_.assign(banks.size(), 0);
  std::vector<Bank> sorted = banks;
  std::sort(sorted.begin(), sorted.end(), [](const Bank& a, const Bank& b) { return a.base < b.base; });
  uint64_t file_bytes = 0;
  for (const Bank& bank : sorted) {
    Segment* const last = segments_.empty() ? nullptr : &segments_.back();
    const bool touches = last != nullptr && bank.base <= last->base + last->size;
    if (!touches) {
      segments_.push_back({bank.base, 0, file_bytes, nullptr});
    }
    Segment& segment = segments_.back();
    const uint64_t size = std::max(segment.size, bank.base + bank.size - segment.base);
    file_bytes += size - segment.size;
    segment.size = size;
  }
  file_ = memfd_create("u280-emu-memory", MFD_CLOEXEC);
  if (file_ < 0 || ftruncate(file_, static_cast<off_t>(file_bytes)) != 0) {
    return false;
  }
  for (Segment& segment : segments_) {
    segment.host = Reserve(segment.size);
    if (segment.host == nullptr) {
      return false;
    }
  }
  return true;
}

void DeviceMemory::Clear() {
  for (const Segment& segment : segments_) {
    if (segment.host != nullptr) {
      syscall(SYS_munmap, segment.host, segment.size);
    }
  }
  for (const View& view : views_) {
    syscall(SYS_munmap, view.host, view.size);
  }
  segments_.clear();
  views_.clear();
  allocations_.clear();
  banks_.clear();
  if (file_ >= 0) {
    close(file_);
    file_ = -1;
  }
}

const DeviceMemory::Segment* DeviceMemory::SegmentOf(uint64_t address) const {
  for (const Segment& segment : segments_) {
    if (address >= segment.base && address - segment.base < segment.size) {
      return &segment;
    }
  }
  return nullptr;
}

int DeviceMemory::BankOf(uint64_t address) const {
  for (size_t i = 0; i < banks_.size(); ++i) {
    if (!banks_[i].IsGroup() && banks_[i].Holds(address)) {
      return static_cast<int>(i);
    }
  }
  return -1;
}

char* DeviceMemory::Direct(uint64_t address) const {
  const Segment* const segment = SegmentOf(address);
  return segment == nullptr ? nullptr : segment->host + (address - segment->base);
}

void DeviceMemory::CountUse(int bank, int64_t bytes) {
  used_[bank] += static_cast<uint64_t>(bytes);
  peak_[bank] = std::max(peak_[bank], used_[bank]);
}

std::optional<uint64_t> DeviceMemory::Allocate(int bank, uint64_t size) {
  const Bank& place = banks_[bank];
  uint64_t at = place.base;
  for (const auto& [first, allocation] : allocations_) {
    if (first + allocation.size <= at) {
      continue;
    }
    if (first >= at + size) {
      break;
    }
    at = first + allocation.size;
  }
  if (size > place.size || at > place.base + place.size - size) {
    return std::nullopt;
  }
  const Segment* const segment = SegmentOf(at);
  char* const direct = Direct(at);
  if (!MapFile(direct, size, PROT_READ | PROT_WRITE, file_, segment->offset + (at - segment->base))) {
    return std::nullopt;
  }
  allocations_[at] = {size, bank, false};
  CountUse(BankOf(at), static_cast<int64_t>(size));
  for (const View& view : views_) {
    ShowIn(view, at, size, true);
  }
  if (poison_) {
    std::memset(direct, kPoison, std::min(size, kPoisonBytes));
  }
  return at;
}

void DeviceMemory::Free(uint64_t address) {
  const auto found = allocations_.find(address);
  if (found == allocations_.end()) {
    return;
  }
  const uint64_t size = found->second.size;
  const Segment* const segment = SegmentOf(address);
  for (const View& view : views_) {
    ShowIn(view, address, size, false);
  }
  Reserve(size, Direct(address));
  fallocate(file_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
            static_cast<off_t>(segment->offset + (address - segment->base)), static_cast<off_t>(size));
  CountUse(BankOf(address), -static_cast<int64_t>(size));
  allocations_.erase(found);
}

DeviceMemory::Allocation* DeviceMemory::Find(uint64_t address, uint64_t* first) {
  auto found = allocations_.upper_bound(address);
  if (found == allocations_.begin()) {
    return nullptr;
  }
  --found;
  if (address - found->first >= found->second.size) {
    return nullptr;
  }
  if (first != nullptr) {
    *first = found->first;
  }
  return &found->second;
}

int DeviceMemory::AddView(const std::set<int>& banks, bool read_only, const std::string& port) {
  View view;
  view.port = port;
  view.banks = banks;
  view.read_only = read_only;
  uint64_t end = 0;
  view.base = UINT64_MAX;
  for (const int bank : banks) {
    view.base = std::min(view.base, banks_[bank].base);
    end = std::max(end, banks_[bank].base + banks_[bank].size);
  }
  view.size = banks.empty() ? 0 : end - view.base;
  view.host = view.size > 0 ? Reserve(view.size) : nullptr;
  if (view.host == nullptr) {
    return -1;
  }
  views_.push_back(view);
  return static_cast<int>(views_.size()) - 1;
}

bool DeviceMemory::Sees(const View& view, uint64_t address) const {
  return std::any_of(view.banks.begin(), view.banks.end(), [&](int bank) { return banks_[bank].Holds(address); });
}

void DeviceMemory::ShowIn(const View& view, uint64_t address, uint64_t size, bool visible) const {
  if (!Sees(view, address)) {
    return;
  }
  char* const at = view.host + (address - view.base);
  if (!visible) {
    Reserve(size, at);
    return;
  }
  const Segment* const segment = SegmentOf(address);
  MapFile(at, size, view.read_only ? PROT_READ : PROT_READ | PROT_WRITE, file_,
          segment->offset + (address - segment->base));
}

char* DeviceMemory::Translate(int view, uint64_t address) const {
  if (view < 0 || !Sees(views_[view], address)) {
    return nullptr;
  }
  return views_[view].host + (address - views_[view].base);
}

DeviceMemory::Place DeviceMemory::Locate(const volatile void* pointer) const {
  const auto at = reinterpret_cast<uintptr_t>(pointer);
  for (size_t i = 0; i < views_.size(); ++i) {
    const auto first = reinterpret_cast<uintptr_t>(views_[i].host);
    if (at >= first && at - first < views_[i].size) {
      return {static_cast<int>(i), views_[i].base + (at - first)};
    }
  }
  return {};
}

namespace {

std::atomic<const DeviceMemory*> watched{nullptr};
struct sigaction handler_before;

void OnSegmentationFault(int signal, siginfo_t* info, void* context) {
  const DeviceMemory* const memory = watched.load();
  const DeviceMemory::Place place = memory == nullptr ? DeviceMemory::Place() : memory->Locate(info->si_addr);
  if (place.view < 0) {
    sigaction(signal, &handler_before, nullptr);  // not ours: the instruction faults again, for whoever was here before
    return;
  }
  char text[256];
  const int bank = memory->BankOf(place.address);
  const int length = std::snprintf(
      text, sizeof text,
      "[u280-emu] VIOLATION: the kernel behind %s touched device address 0x%llx (%s), which is no live buffer "
      "that this port may use so\n",
      memory->port(place.view).c_str(), static_cast<unsigned long long>(place.address),
      bank < 0 ? "no bank" : memory->banks()[bank].tag.c_str());
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, text, std::min<size_t>(length, sizeof text - 1));
  struct sigaction by_default = {};
  by_default.sa_handler = SIG_DFL;
  sigaction(signal, &by_default, nullptr);
  (void)context;
}

}  // namespace

StrayAccessReporter::StrayAccessReporter(const DeviceMemory* memory) {
  watched = memory;
  struct sigaction action = {};
  action.sa_sigaction = OnSegmentationFault;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGSEGV, &action, &handler_before);
}

StrayAccessReporter::~StrayAccessReporter() {
  sigaction(SIGSEGV, &handler_before, nullptr);
  watched = nullptr;
}

}  // namespace phidias::emu
