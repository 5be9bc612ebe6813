#include "common/memory_info.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace phidias {
namespace {

// A tree of /proc and /sys files as a kernel would show them.
class MemoryInfoTest : public testing::Test {
 protected:
  void SetUp() override {
    root_ = testing::TempDir() + "memory_info_" + testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(root_);
    Write("/proc/meminfo", "MemTotal: 16000 kB\nMemFree: 10 kB\nMemAvailable:    8000 kB\n");
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  void Write(const std::string& path, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path(root_ + path).parent_path());
    std::ofstream(root_ + path) << text;
  }

  std::string root_;
};

TEST_F(MemoryInfoTest, WithoutGroupsWhatTheKernelSays) {
  EXPECT_EQ(AvailableMemory(root_), 8000U * 1024);
}

TEST_F(MemoryInfoTest, NothingKnown) {
  std::filesystem::remove_all(root_);
  EXPECT_EQ(AvailableMemory(root_), std::nullopt);
}

TEST_F(MemoryInfoTest, UnifiedGroupLimitsAndItsCacheCountsAsFree) {
  Write("/proc/self/cgroup", "0::/app.slice/run\n");
  Write("/sys/fs/cgroup/app.slice/run/memory.max", "1000000\n");
  Write("/sys/fs/cgroup/app.slice/run/memory.current", "700000\n");
  Write("/sys/fs/cgroup/app.slice/run/memory.stat", "anon 1\nactive_file 200000\ninactive_file 100000\n");
  EXPECT_EQ(AvailableMemory(root_), 600000U);
}

TEST_F(MemoryInfoTest, ALimitFurtherOutCountsToo) {
  Write("/proc/self/cgroup", "0::/app.slice/run\n");
  Write("/sys/fs/cgroup/app.slice/run/memory.max", "max\n");
  Write("/sys/fs/cgroup/app.slice/run/memory.current", "5\n");
  Write("/sys/fs/cgroup/app.slice/memory.max", "500000\n");
  Write("/sys/fs/cgroup/app.slice/memory.current", "450000\n");
  EXPECT_EQ(AvailableMemory(root_), 50000U);
}

TEST_F(MemoryInfoTest, OlderHierarchy) {
  Write("/proc/self/cgroup", "9:memory:/job\n3:cpu:/job\n");
  Write("/sys/fs/cgroup/memory/job/memory.limit_in_bytes", "300000\n");
  Write("/sys/fs/cgroup/memory/job/memory.usage_in_bytes", "400000\n");
  EXPECT_EQ(AvailableMemory(root_), 0U);
}

TEST_F(MemoryInfoTest, NonsenseIsNoLimit) {
  Write("/proc/self/cgroup", "::\nrubbish\n0::/x\n");
  Write("/sys/fs/cgroup/x/memory.max", "-5 apples\n");
  Write("/sys/fs/cgroup/x/memory.current", "\n");
  EXPECT_EQ(AvailableMemory(root_), 8000U * 1024);
}

}  // namespace
}  // namespace phidias
