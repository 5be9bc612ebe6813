#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common/status.h"

namespace phidias {

// What the system lets this process use of its processors.
struct ProcessorLimits {
  std::vector<int> allowed;  // CPU numbers, rising: the affinity mask, less what a cpuset takes away; never empty
  int cores = 1;             // physical cores among them: CPUs that share one count once
  double quota = 0;          // processors' worth of time that the cgroups grant; infinite where none is set
};

// CPU numbers as Linux writes them, "0-3,8", rising and without repetition. Errors: empty, no numbers, a range that
// falls, a number above 65,535.
Result<std::vector<int>> ParseCpuList(std::string_view text);

// The list in the same form.
std::string FormatCpuList(const std::vector<int>& cpus);

// The limits as the files below `root` tell them ("" is the real system; tests give a tree of their own): topology in
// sys/devices/system/cpu, cgroups of version 1 and 2 as proc/self/cgroup and proc/self/mountinfo name them, every group
// up to the mount counted. What can't be read limits nothing. `affinity` is the mask of the calling thread.
ProcessorLimits FindProcessorLimits(const std::string& root, std::vector<int> affinity);

// The CPUs on which the calling thread may run.
std::vector<int> CurrentAffinity();

// Threads that serve best: one per physical core, no more than the quota (rounded down), at least 1.
int ThreadsFor(const ProcessorLimits& limits);

// ThreadsFor this process. Found once: the CPUs on which a backend's threads are pinned later don't change it.
int AvailableProcessors();

// Restricts the calling thread to `cpus`, none of which may be outside of what the system allows.
Status PinThread(const std::vector<int>& cpus);

}  // namespace phidias
