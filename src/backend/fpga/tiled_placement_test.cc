// Plans and link files of the design `tiled`: what fits, what is refused and by which rule.
#include "backend/fpga/tiled_placement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "backend/fpga/card.h"
#include "backend/fpga/placement.h"
#include "backend/fpga/tiled_link.h"
#include "common/file.h"

namespace phidias::fpga {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

ModelShape Phi2() {
  return {.n_layers = 32,
          .hidden_size = 2560,
          .intermediate_size = 10240,
          .n_heads = 32,
          .n_kv_heads = 32,
          .head_dim = 80,
          .rotary_dim = 32,
          .vocab_size = 51200,
          .max_positions = 2048};
}

TEST(TiledPlacement, Phi2OnThirtyTwoChannels) {
  const auto plan = PlanTiled(Phi2(), {});
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  EXPECT_EQ(plan->tiles, 32);
  EXPECT_EQ(plan->usage.hbm_masters, 32);
  // Of 2516.6 MB of linears and 131.1 MB of an int8 lm_head, what isn't a weight is less than one in a hundred.
  const int64_t weights = int64_t{32} * (4 * 2560 * 2560 + 2 * 2560 * 10240) + int64_t{51200} * 2560;
  EXPECT_GT(plan->weight_bytes(), weights);
  EXPECT_LT(plan->weight_bytes(), weights + weights / 100);
  // One head's keys and values of 32 layers: 160 bytes a position and layer.
  EXPECT_EQ(plan->channel_kv, int64_t{2048} * 32 * 160);
  // At most nine tenths of the wires (sim/resources.h): what fits into a region decides where the tiles lie.
  for (size_t i = 0; i < plan->usage.wires.size(); ++i) {
    EXPECT_GT(plan->usage.wires[i], 0);
    EXPECT_LE(plan->usage.wires[i] * 10, FindCard("u280")->wires[i] * 9) << i;
  }
  EXPECT_THAT(TiledPlacementText(*plan), HasSubstr("HBM masters: 32 of 32"));
  const auto wide = PlanTiled(Phi2(), {.wide_head = true});
  ASSERT_TRUE(wide.ok());
  EXPECT_EQ(wide->weight_bytes() - plan->weight_bytes(), int64_t{51200} * 2560);
}

TEST(TiledPlacement, ACardWithoutDdrReadsTablesFromTheHost) {
  const auto plan = PlanTiled(Phi2(), {.card = "u55c"});
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  EXPECT_EQ(plan->usage.hbm_masters, 32);
  EXPECT_EQ(plan->channel_capacity, int64_t{512} << 20);
  EXPECT_THAT(TiledPlacementText(*plan), HasSubstr("HOST[0]"));
  EXPECT_THAT(TiledPlacementText(*plan), ::testing::Not(HasSubstr("DDR")));
  EXPECT_THAT(PlanTiled(Phi2(), {.card = "u50"}).status().message(), HasSubstr("there is no card"));
}

TEST(TiledPlacement, ImpossibleDesignsAreRefusedByTheirRule) {
  ModelShape shape = Phi2();
  EXPECT_THAT(PlanTiled(shape, {.tiles = 5}).status().message(), HasSubstr("divides the model's 32 heads"));
  EXPECT_THAT(PlanTiled(shape, {.tiles = 64}).status().message(), HasSubstr("at most 32"));
  EXPECT_THAT(PlanTiled(shape, {.tiles = 4}).status().message(), HasSubstr("hls/tiled_design.h"));
  shape.n_layers = 60;
  shape.max_positions = 2048;
  EXPECT_THAT(PlanTiled(shape, {.positions = 40000}).status().message(), HasSubstr("smaller context"));
  shape.n_kv_heads = 8;
  EXPECT_THAT(PlanTiled(shape, {}).status().message(), HasSubstr("8 KV heads for 32 heads"));
}

TEST(TiledLink, TheLinterKnowsTheDesignsLimits) {
  const std::vector<KernelSignature> kernels = DesignKernels();
  for (const int64_t tiles : {1, 2, 4, 8, 32}) {
    EXPECT_THAT(LintLinkFile(TiledLinkFile(tiles), kernels), IsEmpty()) << tiles;
  }
  LinkFile twice = TiledLinkFile(2);
  twice.streams.back().from_unit = "tile_0";
  EXPECT_THAT(LintLinkFile(twice, kernels), Contains(HasSubstr("tile_0.ring_out is wired twice")));
  LinkFile open = TiledLinkFile(2);
  open.streams.pop_back();
  EXPECT_THAT(LintLinkFile(open, kernels), Contains(HasSubstr("unit core: ring_in is wired to nothing (sc=)")));
  LinkFile narrow = TiledLinkFile(2);
  for (LinkStream& stream : narrow.streams) {
    if (stream.from_port == "groups_out" && stream.from_unit == "tile_1") {
      stream.to_unit = "core";
      stream.to_port = "ring_in";
    }
  }
  EXPECT_THAT(LintLinkFile(narrow, kernels), Contains(HasSubstr("64 bits wide at one end and 512 at the other")));
  // The tables in HBM too: one master too many.
  LinkFile masters = TiledLinkFile(32);
  masters.ports.front().banks = {"HBM", 0, 0};
  EXPECT_THAT(LintLinkFile(masters, kernels), Contains(HasSubstr("33 HBM masters")));
  // All tiles far from the memory.
  LinkFile wires = TiledLinkFile(32);
  for (LinkUnit& unit : wires.units) {
    unit.slr = unit.kernel == "tiled_tile" ? 2 : unit.slr;
  }
  EXPECT_THAT(LintLinkFile(wires, kernels), Contains(HasSubstr("wires between SLR0 and SLR1")));
  // A card without DDR has the tables in the host's memory: in HBM they would need one master more than it has.
  LinkFile other = TiledLinkFile(32);
  other.platform = FindCard("u55c")->platform;
  EXPECT_THAT(LintLinkFile(other, kernels), Contains(HasSubstr("u55c has no DDR")));
  EXPECT_THAT(LintLinkFile(TiledLinkFile(32, *FindCard("u55c")), kernels), IsEmpty());
}

TEST(TiledLink, FilesInTheTreeAreWhatTheHostUses) {
  for (const int64_t tiles : {2, 4, 32}) {
    for (const auto& [target, name] : {std::pair(LinkTarget::kHw, "hw"), std::pair(LinkTarget::kHwEmu, "hw_emu")}) {
      const std::string path =
          StrCat(PHIDIAS_SOURCE_DIR, "/src/hls/vitis/u280/", TiledXclbinName(tiles), ".", name, ".cfg");
      const auto text = ReadFile(path, 1 << 20);
      ASSERT_TRUE(text.ok()) << text.status().message();
      EXPECT_EQ(*text, WriteLinkFile(TiledLinkFile(tiles), target)) << path;
    }
  }
}

}  // namespace
}  // namespace phidias::fpga
