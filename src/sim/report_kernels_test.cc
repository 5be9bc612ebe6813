// The report design's kernels in simulated time: against the source report's table 6, against the closed form, and that
// what they move is what their buffers hold.

#include "sim/report_kernels.h"

#include <gtest/gtest.h>

#include "hls/layout.h"
#include "sim/closed_form.h"

namespace phidias::sim {
namespace {

KernelPlace HbmPlace() {
  KernelPlace place;
  for (int i = 0; i < 4; ++i) {
    place.weights[i] = {MemoryKind::kHbm, 12 + i, 12 + i};
  }
  place.keys = {MemoryKind::kHbm, 20, 20};
  place.values = {MemoryKind::kHbm, 23, 23};
  return place;
}

struct Outcome {
  double seconds = 0;
  int64_t hbm_read = 0;
  int64_t hbm_written = 0;
};

Outcome Simulate(const RegionSpec& region, const Parameters& parameters = {}) {
  const Status checked = CheckRegion(region);
  EXPECT_TRUE(checked.ok()) << checked.message();
  Memories memories(parameters, 32);
  Engine engine(&memories);
  engine.Start(std::make_shared<const RegionSpec>(region), 0);
  const Result<Engine::End> end = engine.RunUntilEnd();
  EXPECT_TRUE(end.ok()) << end.status().message();
  Outcome run;
  run.seconds = end.ok() ? ToSeconds(end->time) : 0;
  for (const HbmChannel& channel : memories.hbm()) {
    run.hbm_read += channel.counts().read_bytes;
    run.hbm_written += channel.counts().written_bytes;
  }
  return run;
}

constexpr AttentionShape kPhi2Heads{32, 32, 80, 32};

// fc1 of Phi-2 on the four designs: nothing is fitted.
TEST(ReportKernels, Table6) {
  struct Row {
    hls::LinearDesign design;
    double measured_ms;
  };
  for (const Row& row : {Row{hls::kLinearB1W8, 176.124}, Row{hls::kLinearB4W8, 45.129}, Row{hls::kLinearB1W512, 43.936},
                         Row{hls::kLinearB4W512, 11.253}}) {
    const RegionSpec region = LinearRegion(row.design, 10240, 2560, HbmPlace(), {});
    const Outcome run = Simulate(region);
    EXPECT_NEAR(run.seconds * 1e3, row.measured_ms, 0.04 * row.measured_ms) << region.name;
    EXPECT_EQ(run.hbm_read, 10240 * 2560);
    EXPECT_NEAR(ClosedFormSeconds(region, {}), run.seconds, 0.05 * run.seconds) << region.name;
  }
}

TEST(ReportKernels, EveryKernelAgainstItsClosedForm) {
  const KernelPlace place = HbmPlace();
  const Parameters p;
  std::vector<RegionSpec> regions = {LinearRegion(hls::kLinearB4W512, 2560, 2560, place, p),
                                     LinearRegion(hls::kLinearB4W512, 2560, 10240, place, p),
                                     LinearRegion(hls::kLinearB1W8, 48, 256, place, p),
                                     LmHeadRegion(51200, 2560, 2, place, p),
                                     LayerNormRegion(2560, place, p),
                                     GeluRegion(10240, place, p),
                                     ResidualRegion(2560, place, p)};
  for (const int64_t pos : {0, 1, 15, 100, 511, 2047}) {
    regions.push_back(AttentionRegion(kPhi2Heads, pos, false, place, p));
    regions.push_back(AttentionRegion(kPhi2Heads, pos, true, place, p));
  }
  for (size_t i = 0; i < regions.size(); ++i) {
    const RegionSpec& region = regions[i];
    const Outcome run = Simulate(region);
    // Small kernels are dominated by filling and emptying.
    const double slack = run.seconds > 1e-3 ? 0.05 : 0.15;
    EXPECT_NEAR(ClosedFormSeconds(region, p), run.seconds, slack * run.seconds) << region.name << " " << i;
  }
}

TEST(ReportKernels, OddSizesMoveWholeBuffers) {
  for (const auto& [n, k] : {std::pair<int64_t, int64_t>{1, 1}, {17, 65}, {48, 257}, {100, 1000}}) {
    for (const hls::LinearDesign& design :
         {hls::kLinearB1W8, hls::kLinearB4W8, hls::kLinearB1W512, hls::kLinearB4W512}) {
      const Outcome run = Simulate(LinearRegion(design, n, k, HbmPlace(), {}));
      EXPECT_EQ(run.hbm_read, design.banks * hls::LinearBankBytes(n, k, design.banks)) << n << " x " << k;
    }
    int64_t bytes = 0;
    for (int bank = 0; bank < hls::kLmHeadBanks; ++bank) {
      bytes += hls::LmHeadBankBytes(n, k, 2, hls::kLmHeadBanks, bank);
    }
    EXPECT_EQ(Simulate(LmHeadRegion(n, k, 2, HbmPlace(), {})).hbm_read, bytes);
  }
  const Outcome attention = Simulate(AttentionRegion(kPhi2Heads, 100, false, HbmPlace(), {}));
  EXPECT_EQ(attention.hbm_read, 2 * 100 * 32 * 80 * 4);
  EXPECT_EQ(attention.hbm_written, 2 * 32 * 80 * 4);
}

TEST(ReportKernels, SlowerMemoryMakesThemSlower) {
  Parameters slow;
  slow.hbm_peak_gbs = 4;
  const hls::LinearDesign wide = {4, 512, 64, 1};  // computes faster than it reads
  const RegionSpec region = LinearRegion(wide, 2560, 2560, HbmPlace(), slow);
  // 6.5 MB over four channels of 4 GB/s, less refresh.
  const double floor = 2560.0 * 2560 / 4 / (4e9 * (1 - slow.hbm_rfc_ns / slow.hbm_refi_ns));
  const double seconds = Simulate(region, slow).seconds;
  EXPECT_GT(seconds, floor);
  EXPECT_LT(seconds, 1.08 * floor);  // x is quantised first
}

}  // namespace
}  // namespace phidias::sim
