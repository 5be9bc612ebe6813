// The plan against sizes worked out by hand for Phi-2, and each way not to fit with its message.

#include "backend/fpga/placement.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

namespace phidias::fpga {
namespace {

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

HbmPlacement Plan(const ModelShape& shape, const PlacementOptions& options = {}) {
  auto placement = PlanPlacement(shape, hls::kReportDesign, options);
  EXPECT_TRUE(placement.ok()) << placement.status().message();
  return placement.ok() ? *std::move(placement) : HbmPlacement();
}

std::string Refusal(const ModelShape& shape, const PlacementOptions& options = {}) {
  const auto placement = PlanPlacement(shape, hls::kReportDesign, options);
  EXPECT_EQ(placement.status().code(), StatusCode::kResourceExhausted);
  return placement.status().message();
}

void ExpectSays(const std::string& message, std::initializer_list<const char*> parts) {
  for (const char* part : parts) {
    EXPECT_NE(message.find(part), std::string::npos) << part << " in: " << message;
  }
}

TEST(Placement, Phi2LiesAsTheReportHasIt) {
  const HbmPlacement placement = Plan(Phi2());
  std::map<std::string, BankUse> bank;
  for (const BankUse& use : placement.banks) {
    bank[use.bank] = use;
  }
  // 2560 rows of 640 bytes, q and dense, 32 layers; fc1's 10240 rows; lm_head's 3200 groups in four banks.
  EXPECT_EQ(bank["HBM[0]"].weights, 2 * 32 * 2560 * 640);
  EXPECT_EQ(bank["HBM[3]"].weights, 2 * 32 * 2560 * 640);
  EXPECT_EQ(bank["HBM[4]"].weights, 32 * 2560 * 640 + 51200 / 4 * 2560 * 2);
  EXPECT_EQ(bank["HBM[8]"].weights, 32 * 2560 * 640);
  EXPECT_EQ(bank["HBM[12]"].weights, 32 * 10240 * 640);
  EXPECT_EQ(bank["HBM[19]"].weights, 32 * 2560 * 2560);
  EXPECT_EQ(bank["HBM[20]"].kv + bank["HBM[21]"].kv + bank["HBM[22]"].kv, int64_t{32} * 2048 * 2560 * 4);
  EXPECT_EQ(bank["HBM[23]"].kv, bank["HBM[20]"].kv);
  EXPECT_EQ(bank["HBM[20]"].holds, "keys");
  EXPECT_EQ(bank["HBM[23]"].holds, "values");
  EXPECT_EQ(placement.usage.hbm_masters, 26);
  EXPECT_EQ(placement.weight_bytes(), int64_t{32} * 12 * 2560 * 2560 + int64_t{51200} * 2560 * 2);
}

TEST(Placement, ItemsTileTheirSegments) {
  const HbmPlacement placement = Plan(Phi2());
  std::vector<int64_t> end(placement.segments.size(), 0);
  for (const PlacedItem& item : placement.items) {
    int64_t& expected = end[static_cast<size_t>(item.segment)];
    EXPECT_EQ(item.offset, expected);
    EXPECT_EQ(item.offset % kItemAlignment, 0);
    EXPECT_EQ(item.bytes % 64, 0);
    expected = item.offset + (item.bytes + kItemAlignment - 1) / kItemAlignment * kItemAlignment;
  }
  for (size_t i = 0; i < end.size(); ++i) {
    EXPECT_EQ(placement.segments[i].bytes, end[i]);
  }
}

TEST(Placement, UnitsThatRunTogetherShareNoBank) {
  const HbmPlacement placement = Plan(Phi2());
  for (const LinkPort& a : placement.link.ports) {
    for (const LinkPort& b : placement.link.ports) {
      const bool overlap = a.banks.memory == "HBM" && b.banks.memory == "HBM" && a.banks.first <= b.banks.last &&
                           b.banks.first <= a.banks.last;
      EXPECT_FALSE(overlap && MayRunTogether(a.unit, b.unit)) << a.unit << "." << a.argument << " " << b.unit;
    }
  }
}

TEST(Placement, TheWiringPassesTheLinter) {
  for (const LmHeadType type : {LmHeadType::kF16, LmHeadType::kBF16, LmHeadType::kF32}) {
    EXPECT_EQ(LintLinkFile(DesignLinkFile(hls::kReportDesign, type), DesignKernels()), std::vector<std::string>());
  }
}

TEST(Placement, SaysWhatDoesntFitByHowMuchAndWhatWould) {
  ModelShape deep = Phi2();
  deep.n_layers = 42;  // 42 * 10240 * 640 = 275,251,200 in banks of 268,435,456
  ExpectSays(Refusal(deep, {.absent = {}, .positions = 1}),
             {"HBM[12] (fc1)", "275251200 bytes", "268435456", "6815744 too many", "about 40 of the 42 layers"});
  ModelShape wide = Phi2();
  wide.hidden_size = 5120;
  wide.n_heads = wide.n_kv_heads = 64;
  wide.n_layers = 4;
  ExpectSays(Refusal(wide), {"PLRAM[0]", "184320 bytes", "holds 131072: 53248 too many", "71 %"});
  ModelShape long_context = Phi2();
  long_context.n_layers = 40;
  long_context.intermediate_size = 2560;
  // 40 * 2048 * 2560 * 4 bytes: a layer is 20,971,520, twelve fit in a bank.
  ExpectSays(Refusal(long_context),
             {"2048 positions", "HBM[20:22] has room for 36", "83886080 bytes are missing", "-c 1872"});
  EXPECT_EQ(Plan(long_context, {.absent = {}, .positions = 1872}).positions, 1872);
  ExpectSays(Refusal(long_context, {.absent = {}, .positions = 1873}), {"1873 positions"});
}

TEST(Placement, KnowsTheKernelsBuffers) {
  ModelShape shape = Phi2();
  shape.intermediate_size = 20480;
  ExpectSays(Refusal(shape), {"intermediate_size is 20480", "16384", "4096 too many", "--device cpu"});
  shape = Phi2();
  shape.max_positions = 4096;
  ExpectSays(Refusal(shape), {"4096 positions", "takes 2048", "-c 2048"});
  EXPECT_EQ(Plan(shape, {.absent = {}, .positions = 2048}).rotary_positions(), 2048);
  shape = Phi2();
  shape.head_dim = 72;
  const auto odd = PlanPlacement(shape, hls::kReportDesign, {});
  ExpectSays(odd.status().message(), {"head_dim is 72", "multiples of 16", "--host-ops attention"});
}

TEST(Placement, AbsentLayersTakeNoRoom) {
  const HbmPlacement placement = Plan(Phi2(), {.absent = {LinearRole::kLmHead, LinearRole::kFc2}});
  EXPECT_EQ(placement.Find(ItemKind::kLmHeadSlice, LinearRole::kLmHead, 0, 0), nullptr);
  EXPECT_EQ(placement.Find(ItemKind::kLinearSlice, LinearRole::kFc2, 3, 1), nullptr);
  EXPECT_NE(placement.Find(ItemKind::kLinearSlice, LinearRole::kFc1, 3, 1), nullptr);
}

TEST(Placement, ReadsAsATable) {
  const std::string text = PlacementText(Plan(Phi2()));
  ExpectSays(text, {"HBM[12]", "fc1", "keys", "HBM masters 26 of 32", "SLR0-SLR1: 0 of", "PLRAM[1]"});
}

TEST(Placement, DesignsByName) {
  EXPECT_TRUE(FindDesign("report").ok());
  ExpectSays(FindDesign("tiled").status().message(), {"tiled", "report"});
}

}  // namespace
}  // namespace phidias::fpga
