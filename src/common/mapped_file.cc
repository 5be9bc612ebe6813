#include "common/mapped_file.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <mutex>

namespace phidias {
namespace {

// The handler may take no lock and allocate nothing, so live mappings stand in a fixed table of atomics.
struct Slot {
  std::atomic<bool> used{false};
  std::atomic<uintptr_t> begin{0};
  std::atomic<uintptr_t> end{0};
  std::atomic<bool> faulted{false};
  int fd = -1;  // of the file; only Release reads it
};
constexpr int kMaxMappings = 1024;
std::array<Slot, kMaxMappings> g_slots;
struct sigaction g_previous_action;
uintptr_t g_page_size = 4096;

bool PatchPage(uintptr_t address) {
  for (Slot& slot : g_slots) {
    if (address < slot.begin.load() || address >= slot.end.load()) {
      continue;
    }
    slot.faulted.store(true);
    void* page = reinterpret_cast<void*>(address & ~(g_page_size - 1));
    return mmap(page, g_page_size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED;
  }
  return false;
}

void OnSigbus(int signal_number, siginfo_t* info, void* context) {
  const int saved_errno = errno;
  const bool patched = PatchPage(reinterpret_cast<uintptr_t>(info->si_addr));
  errno = saved_errno;
  if (patched) {
    return;
  }
  if ((g_previous_action.sa_flags & SA_SIGINFO) != 0 && g_previous_action.sa_sigaction != nullptr) {
    g_previous_action.sa_sigaction(signal_number, info, context);
    return;
  }
  sigaction(SIGBUS, &g_previous_action, nullptr);  // the fault repeats under the old disposition
}

void InstallHandlerOnce() {
  static std::once_flag once;
  std::call_once(once, [] {
    g_page_size = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
    struct sigaction action = {};
    action.sa_sigaction = OnSigbus;
    action.sa_flags = SA_SIGINFO;
    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, &action, &g_previous_action);
  });
}

int TakeSlot(const void* data, size_t size, int fd) {
  for (int i = 0; i < kMaxMappings; ++i) {
    bool expected = false;
    if (g_slots[i].used.compare_exchange_strong(expected, true)) {
      g_slots[i].faulted.store(false);
      g_slots[i].fd = fd;
      g_slots[i].begin.store(reinterpret_cast<uintptr_t>(data));
      g_slots[i].end.store(reinterpret_cast<uintptr_t>(data) + size);
      return i;
    }
  }
  return -1;
}

void FreeSlot(int slot) {
  g_slots[slot].end.store(0);
  g_slots[slot].begin.store(0);
  close(g_slots[slot].fd);
  g_slots[slot].fd = -1;
  g_slots[slot].used.store(false);
}

// Closes on every way out.
struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) {
      close(fd);
    }
  }
};

}  // namespace

Result<std::shared_ptr<const MappedFile>> MappedFile::Open(const std::string& path) {
  // O_NONBLOCK: opening a FIFO that nobody writes must not hang.
  Descriptor file{open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (file.fd < 0) {
    const int error = errno;
    const StatusCode code = error == ENOENT || error == ENOTDIR ? StatusCode::kNotFound : StatusCode::kIoError;
    return Status(code, StrCat(path, ": cannot open: ", std::strerror(error)));
  }
  struct stat info = {};
  if (fstat(file.fd, &info) != 0) {
    return IoError(path, ": cannot stat: ", std::strerror(errno));
  }
  if (!S_ISREG(info.st_mode)) {
    return InvalidArgument(path, ": not a regular file");
  }
  const auto size = static_cast<size_t>(info.st_size);
  if (size == 0) {
    return std::shared_ptr<const MappedFile>(new MappedFile(path, nullptr, 0, -1));
  }
  InstallHandlerOnce();
  void* data = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.fd, 0);
  if (data == MAP_FAILED) {
    return IoError(path, ": cannot map ", HumanBytes(size), ": ", std::strerror(errno));
  }
  const int slot = TakeSlot(data, size, file.fd);
  if (slot < 0) {
    munmap(data, size);
    return ResourceExhausted(path, ": more than ", kMaxMappings, " files mapped at once");
  }
  file.fd = -1;  // the slot's now
  return std::shared_ptr<const MappedFile>(new MappedFile(path, static_cast<const std::byte*>(data), size, slot));
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) {
    FreeSlot(slot_);
    munmap(const_cast<std::byte*>(data_), size_);
  }
}

Status MappedFile::Check() const {
  if (slot_ >= 0 && g_slots[slot_].faulted.load()) {
    return DataError(path_, ": the file shrank while it was in use (it had ", size_,
                     " bytes when opened); restore it and start again");
  }
  return {};
}

void MappedFile::Release(const std::byte* begin, size_t bytes) {
  const auto from = reinterpret_cast<uintptr_t>(begin);
  for (const Slot& slot : g_slots) {
    const uintptr_t slot_begin = slot.begin.load();
    if (slot_begin == 0 || from < slot_begin || from + bytes > slot.end.load()) {
      continue;
    }
    const uintptr_t first = (from + g_page_size - 1) & ~(g_page_size - 1);
    const uintptr_t last = (from + bytes) & ~(g_page_size - 1);
    if (first < last) {
      madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
      posix_fadvise(slot.fd, static_cast<off_t>(first - slot_begin), static_cast<off_t>(last - first),
                    POSIX_FADV_DONTNEED);
    }
    return;
  }
}

}  // namespace phidias
