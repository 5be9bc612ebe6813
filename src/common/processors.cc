#include "common/processors.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <iterator>
#include <limits>
#include <memory>
#include <optional>
#include <set>

#include "common/file.h"
#include "common/str.h"

namespace phidias {
namespace {

constexpr int kMaxCpu = 65535;
constexpr size_t kMaxFile = size_t{1} << 20;

struct FreeCpuSet {
  void operator()(cpu_set_t* set) const { CPU_FREE(set); }
};
using CpuSetPtr = std::unique_ptr<cpu_set_t, FreeCpuSet>;

std::string_view Trim(std::string_view text) {
  constexpr std::string_view kBlank = " \t\n";
  const size_t begin = text.find_first_not_of(kBlank);
  return begin == std::string_view::npos ? std::string_view()
                                         : text.substr(begin, text.find_last_not_of(kBlank) - begin + 1);
}

std::vector<std::string_view> Split(std::string_view text, char separator) {
  std::vector<std::string_view> out;
  while (true) {
    const size_t end = text.find(separator);
    out.push_back(text.substr(0, end));
    if (end == std::string_view::npos) {
      return out;
    }
    text.remove_prefix(end + 1);
  }
}

template <class Number>
std::optional<Number> ToNumber(std::string_view text) {
  Number value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() && !text.empty() ? std::optional(value)
                                                                                   : std::nullopt;
}

std::optional<std::string> Contents(const std::string& path) {
  Result<std::string> text = ReadFile(path, kMaxFile);
  return text.ok() ? std::optional(std::string(Trim(*text))) : std::nullopt;
}

bool Contains(std::string_view list, std::string_view word) {
  const std::vector<std::string_view> words = Split(list, ',');
  return std::find(words.begin(), words.end(), word) != words.end();
}

// Where one hierarchy of cgroups can be read, and this process's place in it.
struct Hierarchy {
  bool version2 = false;
  std::string controllers;  // of version 1: "cpu,cpuacct"
  std::string mount;        // directory, without the root that stands before it in a test
  std::string group;        // below mount: "" or "/a/b"
};

// The process's group in the hierarchy that carries `controller` ("" names version 2's), from proc/self/cgroup.
std::optional<std::string> GroupOf(std::string_view cgroup_file, std::string_view controller) {
  for (const std::string_view line : Split(cgroup_file, '\n')) {
    const size_t first = line.find(':');
    const size_t second = first == std::string_view::npos ? first : line.find(':', first + 1);
    if (second == std::string_view::npos) {
      continue;
    }
    const std::string_view controllers = line.substr(first + 1, second - first - 1);
    if (controller.empty() ? controllers.empty() : Contains(controllers, controller)) {
      return std::string(line.substr(second + 1));
    }
  }
  return std::nullopt;
}

// The part of `group` below the group that is mounted; "" where it lies outside (the mount is then all that is seen).
std::string BelowMount(std::string_view group, std::string_view mounted) {
  if (mounted == "/") {
    mounted = "";
  }
  const bool inside = group.starts_with(mounted) && (group.size() == mounted.size() || group[mounted.size()] == '/');
  if (!inside || !group.starts_with('/') || group.find("/..") != std::string_view::npos) {
    return "";
  }
  group.remove_prefix(mounted.size());
  return group == "/" ? "" : std::string(group);
}

// Every mounted hierarchy that can hold CPU limits.
std::vector<Hierarchy> FindHierarchies(const std::string& root) {
  std::vector<Hierarchy> out;
  const std::optional<std::string> mounts = Contents(root + "/proc/self/mountinfo");
  const std::optional<std::string> groups = Contents(root + "/proc/self/cgroup");
  if (!mounts.has_value() || !groups.has_value()) {
    return out;
  }
  for (const std::string_view line : Split(*mounts, '\n')) {
    // id parent device root mount-point options [optional ...] - type source super-options
    const size_t dash = line.find(" - ");
    const std::vector<std::string_view> before = Split(line.substr(0, dash), ' ');
    if (dash == std::string_view::npos || before.size() < 5) {
      continue;
    }
    const std::vector<std::string_view> after = Split(line.substr(dash + 3), ' ');
    Hierarchy hierarchy;
    hierarchy.mount = std::string(before[4]);
    std::string_view controller;
    if (after[0] == "cgroup2") {
      hierarchy.version2 = true;
    } else if (after[0] == "cgroup" && after.size() >= 3 &&
               (Contains(after[2], "cpu") || Contains(after[2], "cpuset"))) {
      hierarchy.controllers = std::string(after[2]);
      controller = Contains(after[2], "cpu") ? "cpu" : "cpuset";
    } else {
      continue;
    }
    if (const std::optional<std::string> group = GroupOf(*groups, controller); group.has_value()) {
      hierarchy.group = BelowMount(*group, before[3]);
      out.push_back(std::move(hierarchy));
    }
  }
  return out;
}

// A group's own quota in processors: cpu.max, or version 1's cfs files. Nothing set: nullopt.
std::optional<double> QuotaOf(const std::string& directory, bool version2) {
  std::optional<double> quota;
  std::optional<double> period;
  if (version2) {
    const std::string text = Contents(directory + "/cpu.max").value_or("");
    const std::vector<std::string_view> words = Split(text, ' ');
    if (words.size() == 2) {
      quota = ToNumber<double>(words[0]);  // "max" is no number
      period = ToNumber<double>(words[1]);
    }
  } else {
    quota = ToNumber<double>(Contents(directory + "/cpu.cfs_quota_us").value_or(""));  // -1: none
    period = ToNumber<double>(Contents(directory + "/cpu.cfs_period_us").value_or(""));
  }
  return quota.value_or(0) > 0 && period.value_or(0) > 0 ? std::optional(*quota / *period) : std::nullopt;
}

// The CPUs of a group, empty where it doesn't say.
std::vector<int> CpusetOf(const std::string& directory, bool version2) {
  std::optional<std::string> text =
      Contents(directory + (version2 ? "/cpuset.cpus.effective" : "/cpuset.effective_cpus"));
  if (!text.has_value() && !version2) {
    text = Contents(directory + "/cpuset.cpus");
  }
  const Result<std::vector<int>> cpus = ParseCpuList(text.value_or(""));
  return cpus.ok() ? *cpus : std::vector<int>();
}

void Intersect(std::vector<int>* allowed, const std::vector<int>& cpus) {
  std::vector<int> both;
  std::set_intersection(allowed->begin(), allowed->end(), cpus.begin(), cpus.end(), std::back_inserter(both));
  if (!both.empty()) {
    *allowed = std::move(both);
  }
}

// A group and all above it up to the mount: the tightest quota counts, and every cpuset.
void ApplyGroups(const std::string& root, const Hierarchy& hierarchy, ProcessorLimits* limits) {
  std::string group = hierarchy.group;
  while (true) {
    const std::string directory = root + hierarchy.mount + group;
    if (hierarchy.version2 || Contains(hierarchy.controllers, "cpu")) {
      limits->quota = std::min(limits->quota, QuotaOf(directory, hierarchy.version2).value_or(limits->quota));
    }
    if (hierarchy.version2 || Contains(hierarchy.controllers, "cpuset")) {
      if (const std::vector<int> cpus = CpusetOf(directory, hierarchy.version2); !cpus.empty()) {
        Intersect(&limits->allowed, cpus);
      }
    }
    if (group.empty()) {
      return;
    }
    group.resize(group.rfind('/'));
  }
}

int CountCores(const std::string& root, const std::vector<int>& cpus) {
  std::set<std::string> cores;
  for (const int cpu : cpus) {
    const std::string topology = StrCat(root, "/sys/devices/system/cpu/cpu", cpu, "/topology/");
    const std::optional<std::string> siblings = Contents(topology + "thread_siblings_list");
    cores.insert(siblings.has_value() && !siblings->empty() ? *siblings : StrCat("cpu", cpu));
  }
  return std::max(1, static_cast<int>(cores.size()));
}

}  // namespace

Result<std::vector<int>> ParseCpuList(std::string_view text) {
  std::set<int> cpus;
  for (const std::string_view item : Split(text, ',')) {
    const size_t dash = item.find('-');
    const std::optional<int> first = ToNumber<int>(item.substr(0, dash));
    const std::optional<int> last = dash == std::string_view::npos ? first : ToNumber<int>(item.substr(dash + 1));
    if (!first.has_value() || !last.has_value() || *first < 0 || *last < *first || *last > kMaxCpu) {
      return InvalidArgument(Quoted(text), " is no list of processors such as 0-3,8");
    }
    for (int cpu = *first; cpu <= *last; ++cpu) {
      cpus.insert(cpu);
    }
  }
  return std::vector<int>(cpus.begin(), cpus.end());
}

std::string FormatCpuList(const std::vector<int>& cpus) {
  std::string out;
  for (size_t i = 0; i < cpus.size();) {
    size_t end = i + 1;
    while (end < cpus.size() && cpus[end] == cpus[end - 1] + 1) {
      ++end;
    }
    out += StrCat(out.empty() ? "" : ",", cpus[i]);
    if (end - i > 1) {
      out += StrCat("-", cpus[end - 1]);
    }
    i = end;
  }
  return out;
}

ProcessorLimits FindProcessorLimits(const std::string& root, std::vector<int> affinity) {
  ProcessorLimits limits = {.allowed = std::move(affinity), .quota = std::numeric_limits<double>::infinity()};
  for (const Hierarchy& hierarchy : FindHierarchies(root)) {
    ApplyGroups(root, hierarchy, &limits);
  }
  limits.cores = CountCores(root, limits.allowed);
  return limits;
}

std::vector<int> CurrentAffinity() {
  // The kernel's mask may be larger than cpu_set_t: grow until it fits.
  for (int count = 1024; count <= kMaxCpu + 1; count *= 4) {
    const CpuSetPtr set(CPU_ALLOC(static_cast<size_t>(count)));
    const size_t bytes = CPU_ALLOC_SIZE(static_cast<size_t>(count));
    if (set == nullptr || sched_getaffinity(0, bytes, set.get()) != 0) {
      continue;
    }
    std::vector<int> out;
    for (int cpu = 0; cpu < count; ++cpu) {
      if (CPU_ISSET_S(static_cast<size_t>(cpu), bytes, set.get())) {
        out.push_back(cpu);
      }
    }
    return out;
  }
  return {0};
}

int ThreadsFor(const ProcessorLimits& limits) {
  return std::max(1, limits.quota < limits.cores ? static_cast<int>(limits.quota) : limits.cores);
}

int AvailableProcessors() {
  static const int kThreads = ThreadsFor(FindProcessorLimits("", CurrentAffinity()));
  return kThreads;
}

Status PinThread(const std::vector<int>& cpus) {
  const size_t count = size_t{kMaxCpu} + 1;
  const CpuSetPtr set(CPU_ALLOC(count));
  const size_t bytes = CPU_ALLOC_SIZE(count);
  if (set == nullptr) {
    return ResourceExhausted("no memory for a set of processors");
  }
  CPU_ZERO_S(bytes, set.get());
  for (const int cpu : cpus) {
    CPU_SET_S(static_cast<size_t>(cpu), bytes, set.get());
  }
  const int error = pthread_setaffinity_np(pthread_self(), bytes, set.get());
  if (error != 0) {
    return InvalidArgument("can't run on processors ", FormatCpuList(cpus), ": ", std::strerror(error),
                           "; allowed here: ", FormatCpuList(CurrentAffinity()));
  }
  return {};
}

}  // namespace phidias
