// How many threads serve best, from trees of files as real systems have them: siblings, cpusets, quotas of cgroups of
// both versions, nested groups, containers with and without a namespace of their own, and files that lie.
#include "common/processors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

namespace phidias {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class ProcessorsTest : public testing::Test {
 protected:
  ProcessorsTest() {
    std::string pattern = testing::TempDir() + "phidias-XXXXXX";
    root_ = mkdtemp(pattern.data());
  }
  ~ProcessorsTest() override { std::filesystem::remove_all(root_); }

  void Write(const std::string& path, const std::string& text) const {
    std::filesystem::create_directories(std::filesystem::path(root_ + path).parent_path());
    std::ofstream(root_ + path) << text;
  }
  void Siblings(int cpu, const std::string& list) const {
    Write("/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/thread_siblings_list", list + "\n");
  }
  // Eight CPUs of four cores: n and n + 4 are siblings.
  void FourCores() const {
    for (int cpu = 0; cpu < 8; ++cpu) {
      Siblings(cpu, std::to_string(cpu % 4) + "," + std::to_string(cpu % 4 + 4));
    }
  }
  void Version2(const std::string& group, const std::string& mounted = "/") const {
    Write("/proc/self/cgroup", "0::" + group + "\n");
    Write("/proc/self/mountinfo", "20 1 0:5 / /proc rw - proc proc rw\n31 23 0:28 " + mounted +
                                      " /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n");
  }
  void Version1(const std::string& cpu_group, const std::string& cpuset_group) const {
    Write("/proc/self/cgroup",
          "9:name=systemd:/x\n4:cpu,cpuacct:" + cpu_group + "\n3:cpuset:" + cpuset_group + "\n0::/\n");
    Write("/proc/self/mountinfo",
          "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
          "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
          "34 31 0:31 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
          "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n");
  }
  ProcessorLimits Find(std::vector<int> affinity = {0, 1, 2, 3, 4, 5, 6, 7}) const {
    return FindProcessorLimits(root_, std::move(affinity));
  }

  std::string root_;
};

TEST_F(ProcessorsTest, WithoutAnyFileEveryAllowedCpuIsACore) {
  const ProcessorLimits limits = Find({2, 5});
  EXPECT_THAT(limits.allowed, ElementsAre(2, 5));
  EXPECT_EQ(limits.cores, 2);
  EXPECT_TRUE(std::isinf(limits.quota));
  EXPECT_EQ(ThreadsFor(limits), 2);
}

TEST_F(ProcessorsTest, SiblingsCountOnce) {
  FourCores();
  EXPECT_EQ(ThreadsFor(Find()), 4);
  EXPECT_EQ(ThreadsFor(Find({1, 5})), 1);
  EXPECT_EQ(ThreadsFor(Find({1, 4})), 2);  // one of each of two cores
}

TEST_F(ProcessorsTest, Version2QuotaIsRoundedDownAndIsAtLeastOne) {
  FourCores();
  Version2("/");
  Write("/sys/fs/cgroup/cpu.max", "250000 100000\n");
  EXPECT_DOUBLE_EQ(Find().quota, 2.5);
  EXPECT_EQ(ThreadsFor(Find()), 2);
  Write("/sys/fs/cgroup/cpu.max", "50000 100000\n");
  EXPECT_EQ(ThreadsFor(Find()), 1);
  Write("/sys/fs/cgroup/cpu.max", "max 100000\n");
  EXPECT_EQ(ThreadsFor(Find()), 4);
  Write("/sys/fs/cgroup/cpu.max", "6400000 100000\n");  // more than there is
  EXPECT_EQ(ThreadsFor(Find()), 4);
}

TEST_F(ProcessorsTest, TheTightestOfNestedGroupsCounts) {
  FourCores();
  Version2("/slice/job/step");
  Write("/sys/fs/cgroup/slice/cpu.max", "300000 100000");
  Write("/sys/fs/cgroup/slice/job/cpu.max", "max 100000");
  Write("/sys/fs/cgroup/slice/job/step/cpu.max", "350000 100000");
  EXPECT_DOUBLE_EQ(Find().quota, 3.0);
  Write("/sys/fs/cgroup/slice/job/step/cpu.max", "100000 50000");
  EXPECT_DOUBLE_EQ(Find().quota, 2.0);
}

TEST_F(ProcessorsTest, Version2Cpuset) {
  FourCores();
  Version2("/job");
  Write("/sys/fs/cgroup/cpuset.cpus.effective", "0-7\n");
  Write("/sys/fs/cgroup/job/cpuset.cpus.effective", "1-2,5\n");
  EXPECT_THAT(Find().allowed, ElementsAre(1, 2, 5));
  EXPECT_EQ(ThreadsFor(Find()), 2);
  EXPECT_THAT(Find({5, 6}).allowed, ElementsAre(5));
}

TEST_F(ProcessorsTest, Version1QuotaAndCpuset) {
  FourCores();
  Version1("/docker/abc", "/docker/abc");
  Write("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
  Write("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(ThreadsFor(Find()), 4);
  Write("/sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us", "390000\n");
  Write("/sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(ThreadsFor(Find()), 3);
  Write("/sys/fs/cgroup/cpuset/docker/abc/cpuset.cpus", "6-7\n");
  EXPECT_THAT(Find().allowed, ElementsAre(6, 7));
  Write("/sys/fs/cgroup/cpuset/docker/abc/cpuset.effective_cpus", "7\n");
  EXPECT_EQ(ThreadsFor(Find()), 1);
}

TEST_F(ProcessorsTest, AContainerSeesItsGroupAtTheMount) {
  FourCores();
  // Without a namespace of its own: the path is the host's, and the mount shows the group.
  Version2("/docker/abc/inner", "/docker/abc");
  Write("/sys/fs/cgroup/inner/cpu.max", "100000 100000");
  EXPECT_EQ(ThreadsFor(Find()), 1);
  // A group beside the one that is mounted: what the mount says is all that can be known.
  Version2("/docker/abcdef", "/docker/abc");
  Write("/sys/fs/cgroup/cpu.max", "200000 100000");
  EXPECT_EQ(ThreadsFor(Find()), 2);
  Version2("/../other");
  EXPECT_EQ(ThreadsFor(Find()), 2);
}

TEST_F(ProcessorsTest, NonsenseLimitsNothing) {
  FourCores();
  Version2("/");
  for (const char* text : {"", "max", "-5 100000", "100000", "1e 5", "100000 0", "nan nan", "a b c"}) {
    Write("/sys/fs/cgroup/cpu.max", text);
    EXPECT_EQ(ThreadsFor(Find()), 4) << text;
  }
  for (const char* text : {"", "x", "9-3", "100-200"}) {  // a set that holds none of ours is no set either
    Write("/sys/fs/cgroup/cpuset.cpus.effective", text);
    EXPECT_EQ(ThreadsFor(Find()), 4) << text;
  }
  Write("/proc/self/mountinfo", "31 23\n - cgroup2\nx - cgroup cgroup\n\n");
  EXPECT_EQ(ThreadsFor(Find()), 4);
}

TEST(CpuList, ParsesWhatLinuxWrites) {
  EXPECT_THAT(*ParseCpuList("0-3,8"), ElementsAre(0, 1, 2, 3, 8));
  EXPECT_THAT(*ParseCpuList("8,2,2-3"), ElementsAre(2, 3, 8));
  EXPECT_EQ(FormatCpuList({0, 1, 2, 3, 8, 10, 11}), "0-3,8,10-11");
  for (const char* text : {"", ",", "1,", "a", "3-1", "-1", "1-", "0-70000", "99999999999", " 1", "1-2-3", "0x1"}) {
    const auto list = ParseCpuList(text);
    ASSERT_FALSE(list.ok()) << text;
    EXPECT_THAT(list.status().message(), HasSubstr("such as 0-3,8"));
  }
}

TEST(ThisSystem, HasAtLeastOneProcessorAndCanPinToIt) {
  const std::vector<int> allowed = CurrentAffinity();
  ASSERT_FALSE(allowed.empty());
  EXPECT_GE(AvailableProcessors(), 1);
  EXPECT_LE(AvailableProcessors(), static_cast<int>(allowed.size()));
  std::thread([&] {
    EXPECT_TRUE(PinThread({allowed.back()}).ok());
    EXPECT_THAT(CurrentAffinity(), ElementsAre(allowed.back()));
    const Status status = PinThread({60000});
    EXPECT_FALSE(status.ok());
    EXPECT_THAT(status.message(), HasSubstr("60000"));
  }).join();
}

}  // namespace
}  // namespace phidias
