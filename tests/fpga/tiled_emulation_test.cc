// The design `tiled` on the emulated card, under the real XRT: the CPU's bits, and as many starts as units.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "backend/fpga/xrt_card.h"
#include "emu/emulated_card.h"
#include "tests/fpga/tiled_test_util.h"
#include "tests/support/int4_demo.h"

namespace phidias::fpga {
namespace {

Result<std::unique_ptr<CardDevice>> OpenEmulated(const HbmPlacement& placement) {
  RETURN_IF_ERROR(emu::EnableEmulatedCard());
  ASSIGN_OR_RETURN(const std::string xclbin, emu::EmulatedXclbin(placement.xclbin));
  return OpenXrtCard({.index = 0, .xclbin = xclbin, .expected = &placement.link});
}

TEST(TiledEmulation, LogitsAndTokensAreTheCpusWithOneStartOfEachUnit) {
  const auto& checkpoint = Quantized(LmHead::kFloat);
  const auto cpu = MakeCpu(checkpoint);
  const std::vector<int32_t> want = GreedyOnCpu(*cpu, Ids(), 64, {});
  nlohmann::json report;
  {
    TiledModel tiled = MakeTiled(checkpoint, OpenEmulated);
    for (const size_t batch : {size_t{1}, size_t{100}}) {
      ExpectSameLogits(LogitBits(*tiled.phi, Ids(), batch), LogitBits(*cpu, Ids(), 100), StrCat("batch ", batch));
    }
    const KvCache cache = *tiled.phi->NewKvCache(static_cast<int64_t>(Ids().size()) + 64);
    EXPECT_EQ(GenerateAfter(tiled, cache, Ids(), {.first = {}, .count = 64}), want);
  }
  report = nlohmann::json::parse(emu::EmulatedCardReport());
  EXPECT_EQ(report["violations"], 0);
  int64_t runs = 0;
  for (const auto& unit : report["units"]) {
    runs += unit["runs"].get<int64_t>();
    EXPECT_LE(unit["runs"], 1) << unit["unit"];
  }
  EXPECT_EQ(runs, 5);  // four memory units and the sequencer, for 13 + 13 + 12 + 64 tokens
}

TEST(TiledEmulation, FourBitLogitsAreTheCpus) {
  const auto checkpoint = testing_support::Int4Demo({});
  const TiledModel tiled = MakeTiled(checkpoint, OpenEmulated);
  ExpectSameLogits(LogitBits(*tiled.phi, Ids(), 100), LogitBits(*MakeCpu(checkpoint), Ids(), 100), "4 bits");
  EXPECT_EQ(nlohmann::json::parse(emu::EmulatedCardReport())["violations"], 0);
}

// A session that nobody uses any more ends while its units wait for the host.
TEST(TiledEmulation, ASessionEndsWithoutACommand) {
  { const TiledModel tiled = MakeTiled(Quantized(LmHead::kFloat), OpenEmulated); }
  EXPECT_EQ(nlohmann::json::parse(emu::EmulatedCardReport())["violations"], 0);
}

}  // namespace
}  // namespace phidias::fpga
