// What designs take of the chip: the source report's claim, what its tables say, and what is refused.

#include "sim/resources.h"

#include <gtest/gtest.h>

#include "sim/energy.h"
#include "tests/support/model_shapes.h"

namespace phidias::sim {
namespace {

using testing_support::kPhi2;

// Sixteen times the speed for two to three times the hardware.
TEST(Resources, TheReportsClaim) {
  const Resources slow = LinearResources(hls::kLinearB1W8);
  const Resources fast = LinearResources(hls::kLinearB4W512);
  EXPECT_NEAR(fast.lut / slow.lut, 2.4, 0.05);
  EXPECT_NEAR(fast.ff / slow.ff, 1.9, 0.05);
  EXPECT_NEAR(fast.bram36 / slow.bram36, 2.4, 0.05);
  EXPECT_NEAR(fast.dsp / slow.dsp, 2.9, 0.05);
}

TEST(Resources, ReportFitsARegion) {
  const Result<fpga::HbmPlacement> placement = fpga::PlanPlacement(kPhi2, hls::kReportDesign, {});
  ASSERT_TRUE(placement.ok()) << placement.status().message();
  const ResourceReport report = ReportResources(*placement);
  EXPECT_EQ(report.parts.size(), 10U);
  EXPECT_EQ(report.hbm_masters, 26);
  EXPECT_TRUE(CheckResources(report, *fpga::FindCard("u280")).ok());
  EXPECT_GT(report.by_slr[0].dsp, 5 * LinearResources(hls::kLinearB4W512).dsp);
  EXPECT_EQ(report.by_slr[1].lut, 0);
}

TEST(Resources, TiledFitsAndSaysWhatIsTightest) {
  const fpga::Card& card = *fpga::FindCard("u280");
  const ResourceReport report = TiledResources({}, kPhi2, card);
  EXPECT_TRUE(CheckResources(report, card).ok()) << CheckResources(report, card).message();
  EXPECT_LT(report.tightest_share, 0.75) << report.tightest;
  // 64 lanes, four tokens, two to a DSP.
  EXPECT_GT(report.total.dsp, 32 * 128);
  EXPECT_GT(report.total.dsp, TiledResources({.token_lanes = 2}, kPhi2, card).total.dsp);
  // 20 tiles outside region 0, and the ring: streams of 514 wires.
  EXPECT_EQ(report.wires[0], 22 * 514);
}

TEST(Resources, WhatDoesNotFitIsRefusedByItsRule) {
  const fpga::Card& card = *fpga::FindCard("u280");
  const auto refusal = [&card](const TiledDesign& design) {
    return CheckResources(TiledResources(design, kPhi2, card), card).message();
  };
  TiledDesign crowded;
  crowded.slr_tiles[0] = 32;
  crowded.slr_tiles[1] = 0;
  crowded.slr_tiles[2] = 0;
  EXPECT_NE(refusal(crowded).find("SLR0 would need"), std::string::npos) << refusal(crowded);
  EXPECT_NE(refusal(crowded).find("too many"), std::string::npos);
  TiledDesign far;
  far.slr_tiles[0] = 0;
  far.slr_tiles[1] = 14;
  far.slr_tiles[2] = 18;
  ResourceReport wires = TiledResources(far, kPhi2, card);
  for (Resources& region : wires.by_slr) {
    region = {};
  }
  EXPECT_EQ(CheckResources(wires, card).message(),
            "17476 wires between SLR0 and SLR1, and u280 has 16797: 679 too many");
  wires.hbm_masters = 40;
  EXPECT_EQ(CheckResources(wires, card).message(), "40 HBM masters, and u280 has ports for 32: 8 too many");
  TiledDesign deep;
  deep.weight_fifo = 16384;
  EXPECT_NE(refusal(deep).find("URAM"), std::string::npos) << refusal(deep);
}

TEST(Energy, PartsAddUp) {
  TokenTiming timing;
  timing.seconds = 0.01;
  timing.hbm_bytes = 1'000'000'000;
  timing.products = 2'000'000'000;
  ResourceReport resources;
  resources.total.lut = 100000;
  const Parameters p;
  const Energy energy = EnergyOf(timing, 2, resources, 250, p);
  EXPECT_NEAR(energy.hbm, 0.5e9 * 8 * p.hbm_pj_per_bit * 1e-12, 1e-12);
  EXPECT_NEAR(energy.products, 1e9 * p.mac_pj * 1e-12, 1e-12);
  EXPECT_NEAR(energy.board_joules, energy.hbm + energy.products + energy.fabric + energy.board_idle, 1e-12);
  EXPECT_NEAR(energy.board_watts, energy.board_joules / 0.005, 1e-9);
  EXPECT_NEAR(energy.tokens_per_joule * energy.board_joules, 1, 1e-12);
  EXPECT_NEAR(energy.board_watts - energy.chip_watts, p.board_idle_w - p.chip_static_w, 1e-9);
}

}  // namespace
}  // namespace phidias::sim
