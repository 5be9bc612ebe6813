#include "common/memory_info.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <string_view>

#include "common/file.h"

namespace phidias {
namespace {

constexpr uint64_t kNoLimit = std::numeric_limits<uint64_t>::max();
constexpr size_t kMaxFile = 65536;

std::optional<uint64_t> Number(std::string_view text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() ? std::optional(value) : std::nullopt;
}

// The number after `key` in a file of lines "key value".
std::optional<uint64_t> Field(const std::string& path, std::string_view key) {
  const Result<std::string> text = ReadFile(path, kMaxFile);
  if (!text.ok()) {
    return std::nullopt;
  }
  for (std::string_view rest = *text; !rest.empty();) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    if (line.starts_with(key)) {
      const size_t digit = line.find_first_of("0123456789", key.size());
      return digit == std::string_view::npos ? std::nullopt : Number(line.substr(digit));
    }
  }
  return std::nullopt;
}

std::optional<uint64_t> WholeFile(const std::string& path) {
  const Result<std::string> text = ReadFile(path, kMaxFile);
  return text.ok() ? Number(*text) : std::nullopt;
}

// What a group has left: limit - used, where page cache that nobody uses counts as free.
uint64_t LeftInGroup(const std::string& limit_file, const std::string& used_file, const std::string& stat_file) {
  const std::optional<uint64_t> limit = WholeFile(limit_file);
  const std::optional<uint64_t> used = WholeFile(used_file);
  if (!limit || !used) {
    return kNoLimit;
  }
  const uint64_t cache = Field(stat_file, "inactive_file ").value_or(0) + Field(stat_file, "active_file ").value_or(0);
  const uint64_t taken = *used - std::min(*used, cache);
  return *limit - std::min(*limit, taken);
}

// This process's group of the unified hierarchy ("0::/a/b") or of v1's memory controller ("5:memory:/a/b").
std::string GroupPath(const std::string& root, std::string_view controller) {
  const Result<std::string> text = ReadFile(root + "/proc/self/cgroup", kMaxFile);
  if (!text.ok()) {
    return "";
  }
  for (std::string_view rest = *text; !rest.empty();) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    const size_t first = line.find(':');
    const size_t second = first == std::string_view::npos ? first : line.find(':', first + 1);
    if (second != std::string_view::npos && line.substr(first + 1, second - first - 1) == controller) {
      const std::string_view path = line.substr(second + 1);
      return path == "/" ? "" : std::string(path);
    }
  }
  return "";
}

// The least of a group and all those around it.
uint64_t LeftInGroups(const std::string& base, std::string group, std::string_view limit, std::string_view used) {
  uint64_t left = kNoLimit;
  while (true) {
    const std::string folder = base + group + "/";
    left = std::min(left, LeftInGroup(folder + std::string(limit), folder + std::string(used), folder + "memory.stat"));
    if (group.empty()) {
      return left;
    }
    group.resize(group.rfind('/') == std::string::npos ? 0 : group.rfind('/'));
  }
}

}  // namespace

std::optional<uint64_t> AvailableMemory(const std::string& root) {
  const std::optional<uint64_t> kilobytes = Field(root + "/proc/meminfo", "MemAvailable:");
  uint64_t left = kilobytes ? *kilobytes * 1024 : kNoLimit;
  left = std::min(left, LeftInGroups(root + "/sys/fs/cgroup", GroupPath(root, ""), "memory.max", "memory.current"));
  left = std::min(left, LeftInGroups(root + "/sys/fs/cgroup/memory", GroupPath(root, "memory"), "memory.limit_in_bytes",
                                     "memory.usage_in_bytes"));
  return left == kNoLimit ? std::nullopt : std::optional(left);
}

}  // namespace phidias
