#include "perf/memory_use.h"

#include <fcntl.h>
#include <unistd.h>

#include <charconv>

#include "common/file.h"

namespace phidias {

int64_t ProcField(std::string_view text, std::string_view name) {
  for (size_t at = text.find(name); at != std::string_view::npos; at = text.find(name, at + 1)) {
    const size_t end = at + name.size();
    if ((at != 0 && text[at - 1] != '\n') || end >= text.size() || text[end] != ':') {
      continue;
    }
    const size_t digit = text.find_first_not_of(" \t", end + 1);
    if (digit == std::string_view::npos) {
      return 0;
    }
    int64_t value = 0;
    std::from_chars(text.data() + digit, text.data() + text.size(), value);
    return value * 1024;
  }
  return 0;
}

MemoryUse ReadMemoryUse() {
  constexpr size_t kMaxText = size_t{1} << 20;
  MemoryUse use;
  if (const Result<std::string> status = ReadFile("/proc/self/status", kMaxText); status.ok()) {
    use.resident = ProcField(*status, "VmRSS");
    use.resident_peak = ProcField(*status, "VmHWM");
    use.resident_file = ProcField(*status, "RssFile");
  }
  if (const Result<std::string> rollup = ReadFile("/proc/self/smaps_rollup", kMaxText); rollup.ok()) {
    use.huge_pages = ProcField(*rollup, "AnonHugePages");
  }
  return use;
}

bool ResetMemoryPeak() {
  const int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
  if (fd < 0) {
    return false;
  }
  const bool done = write(fd, "5", 1) == 1;
  close(fd);
  return done;
}

}  // namespace phidias
