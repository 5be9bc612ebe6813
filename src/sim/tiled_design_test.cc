#include "sim/tiled_design.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "sim/hbm.h"
#include "sim/tiled_depths.h"
#include "tests/support/model_shapes.h"

namespace phidias::sim {
namespace {

using testing_support::kPhi2;

// As wide, with fewer layers: what a layer costs is the same.
ModelShape FourLayers() {
  ModelShape shape = kPhi2;
  shape.n_layers = 4;
  return shape;
}

double Seconds(const TiledDesign& design, const ModelShape& shape, const TiledPass& pass, bool events,
               const Parameters& parameters = {}) {
  const Result<TokenTiming> timing = TimeTiledPass(design, shape, pass, events, parameters);
  EXPECT_TRUE(timing.ok()) << timing.status().message();
  return timing.ok() ? timing->seconds : 0;
}

TEST(Tiled, ReadsWhatTheModelHas) {
  const TiledBytes bytes = BytesOfTile({}, kPhi2);
  // The weights, and factors of 12 bytes a row.
  EXPECT_GT(32 * 32 * bytes.layer(), 2'516'582'400 + 32 * 12 * (4 * 2560 + 2560 + 10240));
  EXPECT_LT(32 * 32 * bytes.layer(), 2'516'582'400 * 1.005);
  EXPECT_EQ(32 * bytes.lm_head, 131'072'000 + 12 * 51200);
  EXPECT_EQ(32 * 32 * 2 * bytes.keys_per_position, 163'840);
  const Result<TokenTiming> timing = TimeTiledPass({}, kPhi2, {.position = 511}, true, {});
  ASSERT_TRUE(timing.ok()) << timing.status().message();
  const int64_t read = 32 * (32 * (bytes.layer() + 2 * 512 * bytes.keys_per_position) + bytes.lm_head);
  EXPECT_GT(timing->hbm_bytes, read);
  EXPECT_LT(timing->hbm_bytes, read + read / 1000) << "new keys and values";
  EXPECT_GT(timing->products, 2'647'654'400);
  for (const BankTiming& bank : timing->banks) {
    EXPECT_GT(bank.utilisation, 0.85) << bank.bank;
    EXPECT_LT(bank.utilisation, 0.94) << bank.bank;
  }
}

// Half the bytes, and a word of multipliers to 16 beats.
TEST(Tiled, FourBitsReadHalfAndTheMultipliers) {
  const TiledBytes eight = BytesOfTile({}, kPhi2);
  const TiledBytes four = BytesOfTile({.weight_bits = 4}, kPhi2);
  EXPECT_GT(four.layer(), eight.layer() * 17 / 32);
  EXPECT_LT(four.layer(), eight.layer() * 172 / 320);
  EXPECT_EQ(four.lm_head, eight.lm_head);
  EXPECT_EQ(four.keys_per_position, eight.keys_per_position);
}

// The same array: as fast in a prompt, as many cycles for half as many beats; a token waits for half the bytes.
TEST(Tiled, FourBitsAreFasterInDecoding) {
  const ModelShape shape = FourLayers();
  const TiledDesign four{.weight_bits = 4};
  const TiledPass token{.position = 511, .lm_head = false};
  EXPECT_LT(Seconds(four, shape, token, true), 0.6 * Seconds({}, shape, token, true));
  const TiledPass prompt{.position = 256, .tokens = 4, .lm_head = false};
  EXPECT_NEAR(Seconds(four, shape, prompt, true) / Seconds({}, shape, prompt, true), 1, 0.07);
}

TEST(Tiled, ClosedFormAgainstEvents) {
  ModelShape shape = FourLayers();
  shape.n_layers = 2;
  TiledDesign slow;
  slow.mhz = 150;
  TiledDesign shallow;
  shallow.weight_fifo = 128;
  const TiledDesign four_bits{.weight_bits = 4};
  for (const TiledDesign& design : {TiledDesign(), slow, shallow, four_bits}) {
    for (const int64_t position : {0, 511, 2047}) {
      for (const int tokens : {1, 4}) {
        const TiledPass pass{position, tokens, tokens == 1};
        const double events = Seconds(design, shape, pass, true);
        EXPECT_NEAR(Seconds(design, shape, pass, false), events, 0.05 * events)
            << design.weight_bits << " bits, " << design.mhz << " MHz, fifo " << design.weight_fifo << ", " << position
            << ", " << tokens;
      }
    }
  }
}

// Deep streams are what lets readers go on while the tiles wait for the ring.
TEST(Tiled, ShallowStreamsCostTheBubbles) {
  const ModelShape shape = FourLayers();
  TiledDesign shallow;
  shallow.weight_fifo = 128;
  const TiledPass pass{.position = 511};
  EXPECT_GT(Seconds(shallow, shape, pass, true), 1.005 * Seconds({}, shape, pass, true));
  Parameters slow_chain;
  slow_chain.chain_depth_cycles = 5000;
  EXPECT_GT(Seconds({}, shape, pass, true, slow_chain), 1.05 * Seconds({}, shape, pass, true));
}

TEST(Tiled, TokensOfAPassShareTheWeights) {
  const ModelShape shape = FourLayers();
  const double one = Seconds({}, shape, {.position = 256, .tokens = 1, .lm_head = false}, true);
  const double four = Seconds({}, shape, {.position = 256, .tokens = 4, .lm_head = false}, true);
  EXPECT_LT(four, 1.1 * one);
  EXPECT_FALSE(TimeTiledPass({.token_lanes = 2}, shape, {.tokens = 4}, false, {}).ok());
}

// A port of 256 bits moves half of what a channel gives at this clock, by events and in closed form.
TEST(Tiled, NarrowPortsBoundTheChannel) {
  TiledDesign narrow;
  narrow.port_bits = 256;
  const TiledPass pass{.position = 511};
  const double events = Seconds(narrow, FourLayers(), pass, true);
  EXPECT_GT(events, 1.6 * Seconds({}, FourLayers(), pass, true));
  EXPECT_NEAR(Seconds(narrow, FourLayers(), pass, false), events, 0.05 * events);
}

// Tables in the host's memory cost a token a read of it.
TEST(Tiled, TablesOfTheHost) {
  TiledDesign host;
  host.host_tables = true;
  const TiledPass pass{.position = 511};
  const double slower = Seconds(host, FourLayers(), pass, true) - Seconds({}, FourLayers(), pass, true);
  EXPECT_GE(slower, 0);
  EXPECT_LT(slower, 10e-6);
}

TEST(Tiled, EventsKeepATimeLineOfALayer) {
  const Result<TokenTiming> timing = TimeTiledPass({}, FourLayers(), {.position = 511}, true, {});
  ASSERT_TRUE(timing.ok()) << timing.status().message();
  double end = 0;
  for (const RunTiming& run : timing->runs) {
    EXPECT_LT(run.begin, run.end) << run.unit << " " << run.what;
    end = run.unit == "Mac0" ? std::max(end, run.end) : end;
    if (run.unit == "Mac0" && run.what == "fc1") {
      EXPECT_GT(run.begin, timing->runs.front().begin);
    }
  }
  EXPECT_GE(timing->runs.size(), 12U);
  EXPECT_GT(end, 0);
}

// The streams that are built are no shallower than what the simulator finds.
TEST(Tiled, DepthsThatAreBuiltDo) {
  // A layer of 4-bit weights takes half the time, and its keys and values the same: up to 2 % is lost for their stream.
  for (const int bits : {8, 4}) {
    const Result<std::vector<StreamDepth>> depths =
        FindDepths({.weight_bits = bits}, kPhi2, {}, bits == 8 ? kDepthLoss : 4 * kDepthLoss);
    ASSERT_TRUE(depths.ok()) << depths.status().message();
    EXPECT_EQ(depths->size(), 6U);
    for (const StreamDepth& depth : *depths) {
      EXPECT_GE(depth.built, depth.found) << depth.stream << ", " << depth.constant << ", " << bits << " bits";
      EXPECT_GT(depth.found, 0) << depth.stream;
    }
  }
}

TEST(Tiled, DesignsThatCannotBe) {
  const fpga::Card& card = *fpga::FindCard("u280");
  const auto message = [&card](TiledDesign design, const ModelShape& shape, int64_t positions = 2048) {
    return CheckTiledDesign(design, shape, positions, card).message();
  };
  EXPECT_EQ(message({}, kPhi2), "");
  TiledDesign design;
  design.tiles = 48;
  EXPECT_EQ(message(design, kPhi2), "48 tiles: each needs a port of its own, and u280 has 32 HBM masters");
  design.tiles = 24;
  SpreadTiles(&design);
  EXPECT_EQ(message(design, kPhi2), "n_heads is 32: it doesn't divide into 24 tiles");
  design = {};
  design.tiles = 16;
  SpreadTiles(&design);
  EXPECT_NE(message(design, kPhi2).find("a tile's scores (heads, lanes, positions)"), std::string::npos);
  design = {};
  design.slr_tiles[2] = 9;
  EXPECT_NE(message(design, kPhi2).find("32 in all are right"), std::string::npos);
  design = {};
  design.port_bits = 128;
  EXPECT_NE(message(design, kPhi2).find("ports of 128 bits"), std::string::npos);
  design = {};
  design.lanes = 32;
  EXPECT_NE(message(design, kPhi2).find("a beat of 64 weights"), std::string::npos);
  design = {};
  design.weight_bits = 3;
  EXPECT_EQ(message(design, kPhi2), "weights of 3 bits: 4 or 8");
  design = {.int4 = false, .weight_bits = 4};
  EXPECT_NE(message(design, kPhi2).find("multiplies int8 alone"), std::string::npos);
  design = {};
  design.mhz = 600;
  EXPECT_NE(message(design, kPhi2).find("600 MHz"), std::string::npos);
  design = {};
  design.token_lanes = 3;
  EXPECT_NE(message(design, kPhi2).find("3 token lanes"), std::string::npos);
  ModelShape large = kPhi2;
  large.n_layers = 128;
  EXPECT_NE(message({}, large).find("too many at 2048 positions"), std::string::npos);
}

}  // namespace
}  // namespace phidias::sim
