// What measures is itself measured against what must hold on any machine: counts against sums by hand, rates that are
// finite and grow with the work, files that look like the kernel's.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <cstring>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <string>

#include "perf/energy.h"
#include "perf/int8_peak.h"
#include "perf/memory_bandwidth.h"
#include "perf/memory_use.h"
#include "perf/statistics.h"

namespace phidias {
namespace {

TEST(Statistics, AgainstNumbersByHand) {
  const std::vector<double> values = {4, 1, 7, 8};
  EXPECT_DOUBLE_EQ(Mean(values), 5);
  EXPECT_DOUBLE_EQ(Median(values), 5.5);
  EXPECT_DOUBLE_EQ(Median({3, 1, 2}), 2);
  EXPECT_DOUBLE_EQ(Deviation(values), std::sqrt((1 + 16 + 4 + 9) / 3.0));
  EXPECT_EQ(Deviation({5}), 0);
  EXPECT_EQ(Mean({}), 0);
  EXPECT_EQ(Median({}), 0);
}

TEST(MemoryUse, ProcFieldsAreFoundByTheirWholeName) {
  const std::string text = "Name:\tphidias\nVmHWM:\t   20480 kB\nVmRSS:\t   10240 kB\nRssFile:\t 12 kB\nVmSwap:";
  EXPECT_EQ(ProcField(text, "VmRSS"), 10240 * 1024);
  EXPECT_EQ(ProcField(text, "VmHWM"), 20480 * 1024);
  EXPECT_EQ(ProcField(text, "RssFile"), 12 * 1024);
  EXPECT_EQ(ProcField(text, "RSS"), 0);
  EXPECT_EQ(ProcField(text, "Name"), 0);
  EXPECT_EQ(ProcField(text, "VmSwap"), 0);
  EXPECT_EQ(ProcField("", "VmRSS"), 0);
}

TEST(MemoryUse, SeesMemoryThatIsTakenAndTheResetOfThePeak) {
  constexpr size_t kBytes = size_t{64} << 20;
  const MemoryUse before = ReadMemoryUse();
  {
    // From the kernel itself: a sanitizer's allocator would keep it after its end.
    void* const memory = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(memory, MAP_FAILED);
    std::memset(memory, 1, kBytes);
    EXPECT_GE(ReadMemoryUse().resident, before.resident + static_cast<int64_t>(kBytes) / 2);
    munmap(memory, kBytes);
  }
  const MemoryUse after = ReadMemoryUse();
  EXPECT_GE(after.resident_peak, before.resident + static_cast<int64_t>(kBytes) / 2);
  if (ResetMemoryPeak()) {
    EXPECT_LT(ReadMemoryUse().resident_peak, after.resident_peak);
  }
}

TEST(MemoryBandwidth, ReadsWithAnyNumberOfThreads) {
  for (const int threads : {1, 2, 3}) {
    Result<MemoryBandwidth> bandwidth = MemoryBandwidth::Create(threads, int64_t{16} << 20);
    ASSERT_TRUE(bandwidth.ok()) << bandwidth.status().message();
    EXPECT_GE(bandwidth->bytes(), int64_t{16} << 20);
    const double rate = bandwidth->Measure(2);
    EXPECT_GT(rate, 0.01);  // GB/s; sanitizers are slow
    EXPECT_LT(rate, 1e5);
    EXPECT_THAT(bandwidth->streams(), ::testing::AnyOf(1, 2, 4, 8));
  }
}

TEST(MemoryBandwidth, RefusesWhatCantBe) {
  EXPECT_EQ(MemoryBandwidth::Create(0, 1 << 30).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(MemoryBandwidth::Create(2, 1 << 21).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(MemoryBandwidth::Create(1, -1).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(MemoryBandwidth::Create(1, INT64_MAX).status().code(), StatusCode::kInvalidArgument);
}

TEST(Int8Peak, EveryLoopCountsItsProducts) {
  for (const Int8Peak* peak : AllInt8Peaks()) {
    if (!peak->supported()) {
      continue;
    }
    uint32_t sink = 1;
    const int64_t one = peak->run(1, &sink);
    EXPECT_GT(one, 0) << peak->name;
    EXPECT_EQ(peak->run(1000, &sink), 1000 * one) << peak->name;
    uint32_t zero = 0;
    EXPECT_EQ(peak->run(0, &zero), 0) << peak->name;
  }
}

TEST(Int8Peak, ChoosesByTheKernelsName) {
  EXPECT_STREQ(Int8PeakFor("portable").name, "portable");
  EXPECT_STREQ(Int8PeakFor("reference").name, "portable");
  for (const char* isa : {"avx512", "avxvnni", "avx2"}) {
    const Int8Peak& peak = Int8PeakFor(isa);
    EXPECT_TRUE(peak.supported());
    EXPECT_TRUE(peak.isa == std::string(isa) || peak.isa == std::string("portable")) << peak.name;
  }
}

TEST(Int8Peak, RatesArePositiveAndRunsTakeAboutAsLongAsAsked) {
  for (const Int8Peak* peak : AllInt8Peaks()) {
    if (peak->supported()) {
      Int8PeakMeter meter(*peak, 2);
      EXPECT_GT(meter.Measure(0.002), 0.001) << peak->name;
    }
  }
}

// A directory as Linux's powercap shows it.
class EnergyMeterTest : public ::testing::Test {
 protected:
  EnergyMeterTest() {
    std::string path = ::testing::TempDir() + "phidias-energy-XXXXXX";
    root_ = mkdtemp(path.data()) != nullptr ? path : "";
  }
  ~EnergyMeterTest() override { EXPECT_EQ(std::system(("rm -rf '" + root_ + "'").c_str()), 0); }

  void Write(const std::string& zone, const std::string& file, const std::string& text) const {
    mkdir((root_ + "/" + zone).c_str(), 0755);
    std::ofstream(root_ + "/" + zone + "/" + file) << text;
  }
  std::string root_;
};

TEST_F(EnergyMeterTest, AddsPackagesAlone) {
  Write("intel-rapl:0", "energy_uj", "1000000\n");
  Write("intel-rapl:0", "max_energy_range_uj", "262143328850\n");
  Write("intel-rapl:1", "energy_uj", "5000000\n");
  Write("intel-rapl:1", "max_energy_range_uj", "262143328850\n");
  Write("intel-rapl:0:0", "energy_uj", "900000\n");      // cores of package 0
  Write("intel-rapl-mmio:0", "energy_uj", "1000000\n");  // package 0 once more
  EnergyMeter meter(root_);
  ASSERT_TRUE(meter.readable());
  EXPECT_EQ(meter.JoulesSinceLast(), 0.0);
  Write("intel-rapl:0", "energy_uj", "3500000\n");
  Write("intel-rapl:1", "energy_uj", "6000000\n");
  Write("intel-rapl:0:0", "energy_uj", "2900000\n");
  EXPECT_DOUBLE_EQ(meter.JoulesSinceLast().value_or(-1), 3.5);
  EXPECT_EQ(meter.JoulesSinceLast(), 0.0);
}

TEST_F(EnergyMeterTest, CountersWrapAtTheirRange) {
  Write("intel-rapl:0", "energy_uj", "9000000\n");
  Write("intel-rapl:0", "max_energy_range_uj", "10000000\n");
  EnergyMeter meter(root_);
  Write("intel-rapl:0", "energy_uj", "500000\n");
  EXPECT_DOUBLE_EQ(meter.JoulesSinceLast().value_or(-1), 1.5);
}

TEST_F(EnergyMeterTest, WithoutCountersThereIsNoFigure) {
  EXPECT_FALSE(EnergyMeter(root_ + "/nowhere").readable());
  Write("intel-rapl:0", "energy_uj", "what?\n");
  EXPECT_FALSE(EnergyMeter(root_).readable());
  Write("intel-rapl:0", "energy_uj", "100\n");
  EnergyMeter meter(root_);
  ASSERT_TRUE(meter.readable());
  Write("intel-rapl:0", "energy_uj", "50\n");  // went back, and nothing says where it wraps
  EXPECT_EQ(meter.JoulesSinceLast(), std::nullopt);
  EXPECT_EQ(EnergyMeter(root_ + "/nowhere").JoulesSinceLast(), std::nullopt);
}

}  // namespace
}  // namespace phidias
