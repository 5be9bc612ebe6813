// The design `tiled` in the C simulation: whole models against the CPU's integer arithmetic, bit by bit, with the
// host's packing, command ring and KV caches.
#include <gmock/gmock.h>

#include "backend/fpga/tiled_link.h"
#include "backend/fpga/tiled_packer.h"
#include "tests/fpga/tiled_test_util.h"
#include "tests/support/int4_demo.h"
#include "tests/support/streamed_card.h"

namespace phidias::fpga {
namespace {

using ::testing::HasSubstr;

struct TiledOptions {
  int64_t tiles = 0;
  int depth = 0;  // of the streams between units; 0: the design's
};

TiledModel MakeTiled(const std::shared_ptr<const Checkpoint>& checkpoint, const TiledOptions& choice = {}) {
  const auto open = [&choice](const HbmPlacement& placement) -> Result<std::unique_ptr<CardDevice>> {
    LinkFile link = placement.link;
    for (LinkStream& stream : link.streams) {
      stream.depth = choice.depth > 0 ? choice.depth : stream.depth;
    }
    return std::unique_ptr<CardDevice>(std::make_unique<StreamedCard>(std::move(link)));
  };
  return fpga::MakeTiled(checkpoint, open, choice.tiles);
}

TEST(TiledModel, LogitsAreTheCpusBits) {
  for (const LmHead lm_head : {LmHead::kFloat, LmHead::kInt16}) {
    const auto& checkpoint = Quantized(lm_head);
    const std::vector<uint32_t> want = LogitBits(*MakeCpu(checkpoint), Ids(), 100);
    for (const int64_t tiles : {1, 4}) {
      const TiledModel tiled = MakeTiled(checkpoint, {.tiles = tiles});
      for (const size_t batch : {size_t{1}, size_t{3}, size_t{100}}) {
        ExpectSameLogits(LogitBits(*tiled.phi, Ids(), batch), want, StrCat(tiles, " tiles, batch ", batch));
      }
    }
  }
}

// 4-bit weights, of the two ways in which lanes share a beat, and multipliers of every group size.
TEST(TiledModel, FourBitLogitsAreTheCpusBits) {
  for (const int64_t group : {32, 64, 128}) {
    const auto checkpoint = testing_support::Int4Demo({.group = group});
    const std::vector<uint32_t> want = LogitBits(*MakeCpu(checkpoint), Ids(), 100);
    const TiledModel tiled = MakeTiled(checkpoint);
    for (const size_t batch : {size_t{1}, size_t{2}, size_t{100}}) {
      ExpectSameLogits(LogitBits(*tiled.phi, Ids(), batch), want, StrCat("group ", group, ", batch ", batch));
    }
  }
}

TEST(TiledModel, FourBitTokensChosenOnTheCard) {
  const auto checkpoint = testing_support::Int4Demo({});
  TiledModel tiled = MakeTiled(checkpoint);
  const KvCache cache = *tiled.phi->NewKvCache(64);
  EXPECT_EQ(GenerateAfter(tiled, cache, Ids(), {.first = {}, .count = 24}),
            GreedyOnCpu(*MakeCpu(checkpoint), Ids(), 24, {}));
}

// Phi-2's head_dim, which fills no whole number of words, in one head or two of a tile.
TEST(TiledModel, HeadsOfEightyElements) {
  const auto checkpoint = testing_support::QuantizeTiny();
  const std::vector<int32_t> ids = {5, 77, 300, 2, 2, 511, 40, 8, 9};
  const auto cpu = MakeCpu(checkpoint);
  for (const int64_t tiles : {1, 2}) {
    TiledModel tiled = MakeTiled(checkpoint, {.tiles = tiles});
    ExpectSameLogits(LogitBits(*tiled.phi, ids, 3), LogitBits(*cpu, ids, 3), StrCat(tiles, " tiles"));
    const KvCache cache = *tiled.phi->NewKvCache(static_cast<int64_t>(ids.size()) + 16);
    EXPECT_EQ(GenerateAfter(tiled, cache, ids, {.first = {}, .count = 16}), GreedyOnCpu(*cpu, ids, 16, {}));
  }
}

// The core sends and collects whole messages: the streams between units need no depth at all.
TEST(TiledModel, StreamsBetweenUnitsMayBeShallow) {
  const auto& checkpoint = Quantized(LmHead::kFloat);
  const std::vector<int32_t> ids(Ids().begin(), Ids().begin() + 6);
  const TiledModel tiled = MakeTiled(checkpoint, {.tiles = 2, .depth = 1});
  ExpectSameLogits(LogitBits(*tiled.phi, ids, 4), LogitBits(*MakeCpu(checkpoint), ids, 4), "depth 1");
}

TEST(TiledModel, SixtyFourTokensChosenOnTheCardWithoutAStart) {
  const auto& checkpoint = Quantized(LmHead::kFloat);
  const std::vector<int32_t> banned = {0, 5};
  const std::vector<int32_t> want = GreedyOnCpu(*MakeCpu(checkpoint), Ids(), 64, banned);
  TiledModel tiled = MakeTiled(checkpoint);
  const auto starts = tiled.backend->Use().runs;
  const KvCache cache = *tiled.phi->NewKvCache(static_cast<int64_t>(Ids().size()) + 64);
  Generation generation = {.first = {}, .count = 64, .banned = banned};
  EXPECT_EQ(GenerateAfter(tiled, cache, Ids(), generation), want);
  EXPECT_EQ(tiled.backend->Use().runs, starts);
  EXPECT_EQ(tiled.backend->Use().generated, 64);

  // The same again over the same positions, ended by tokens of its own: the first of them on the card, the others by
  // the host, whom the card may be ahead of.
  for (const std::vector<int32_t>& ends : {std::vector<int32_t>{want[20]}, std::vector<int32_t>{-1, want[20]}}) {
    generation.ends = ends;
    const auto first = std::find(want.begin(), want.end(), want[20]) - want.begin();
    EXPECT_EQ(GenerateAfter(tiled, cache, Ids(), generation),
              std::vector<int32_t>(want.begin(), want.begin() + first + 1));
  }
}

// Whole tiles' shares of lm_head among them: they are no candidates. Other ids take places of candidates.
TEST(TiledModel, IdsBannedToTheEndOfTheVocabulary) {
  const auto& checkpoint = Quantized(LmHead::kFloat);
  std::vector<int32_t> banned = {5, 300};
  for (auto id = static_cast<int32_t>(checkpoint->config.vocab_size / 3); id < checkpoint->config.vocab_size; ++id) {
    banned.push_back(id);
  }
  TiledModel tiled = MakeTiled(checkpoint);
  const KvCache cache = *tiled.phi->NewKvCache(static_cast<int64_t>(Ids().size()) + 16);
  EXPECT_EQ(GenerateAfter(tiled, cache, Ids(), {.first = {}, .count = 16, .banned = banned}),
            GreedyOnCpu(*MakeCpu(checkpoint), Ids(), 16, banned));
  Generation sampled = {
      .first = {1, 0, cache.store(), true}, .count = 1, .banned = banned, .rule = {1.0F, 62, 1.0F, 0.0F}};
  EXPECT_TRUE(tiled.backend->CanGenerate(sampled));
  sampled.rule.top_k = 63;
  EXPECT_FALSE(tiled.backend->CanGenerate(sampled));
}

TEST(TiledModel, SequencesKeepToThemselvesAndPositionsMayBeComputedAgain) {
  const auto& checkpoint = Quantized(LmHead::kFloat);
  const std::vector<int32_t> other(Ids().rbegin(), Ids().rend());
  const auto cpu = MakeCpu(checkpoint);
  const TiledModel tiled = MakeTiled(checkpoint);
  std::vector<std::vector<uint32_t>> bits;
  for (Phi* phi : {cpu.get(), tiled.phi.get()}) {
    const KvCache a = *phi->NewKvCache(13);
    const KvCache b = *phi->NewKvCache(16);
    std::vector<uint32_t>& out = bits.emplace_back();
    const auto step = [&](std::vector<StepRow> rows) {
      const auto logits = phi->Step(rows);
      ASSERT_TRUE(logits.ok()) << logits.status().message();
      for (const float logit : *logits) {
        out.push_back(numerics::BitsOf(logit));
      }
    };
    for (int32_t pos = 0; pos < 13; ++pos) {
      step({{Ids()[pos], pos, a.store(), pos % 2 == 0}, {other[pos], pos, b.store(), true}});
    }
    // A draft of three tokens of which the first alone is right; the others' positions are taken again.
    step({{7, 6, b.store(), true}, {8, 7, b.store(), true}, {9, 8, b.store(), true}});
    step({{11, 7, b.store(), true}, {12, 8, b.store(), true}});
  }
  ExpectSameLogits(bits[1], bits[0], "two sequences");
}

// A card and a program built from different sources would give wrong text.
TEST(TiledModel, RefusesKernelsOfAnotherLayout) {
  UseOwnCache();
  const auto& checkpoint = Quantized(LmHead::kFloat);
  const auto refusal = [&checkpoint](int32_t layout) {
    const auto open = [layout](const HbmPlacement& placement) -> Result<std::unique_ptr<CardDevice>> {
      return std::unique_ptr<CardDevice>(std::make_unique<StreamedCard>(placement.link, nullptr, layout));
    };
    CardOptions options = {.cpu = {.threads = 1, .isa = ""}};
    options.timeout = std::chrono::seconds(layout < 0 ? 1 : 60);
    auto backend = CreateTiledBackend(ShapeOf(checkpoint->config), options, *checkpoint->integer, open, 0);
    EXPECT_TRUE(backend.ok()) << backend.status().message();
    return Phi::Create(checkpoint, *std::move(backend)).status().message();
  };
  constexpr int32_t kOurs = hls::tiled::kLayoutVersion;
  EXPECT_THAT(refusal(kOurs + 1),
              HasSubstr(StrCat("kernels have layout ", kOurs + 1, ", this program has layout ", kOurs)));
  EXPECT_THAT(refusal(kOurs - 1), HasSubstr(StrCat("kernels have layout ", kOurs - 1)));
  EXPECT_THAT(refusal(-1), HasSubstr("the sequencer didn't say which layout it has"));
}

TEST(TiledModel, RefusesWhatItCantRun) {
  ModelShape shape = ShapeOf(Quantized(LmHead::kFloat)->config);
  EXPECT_THAT(CheckTiledShape(shape, 3).message(), HasSubstr("divides the model's 4 heads"));
  ModelShape odd = shape;
  odd.intermediate_size = 4 * 72;  // shares of 72: padded, and units of 32 inputs would meet two groups
  EXPECT_TRUE(CheckTiledShape(odd, 4).ok()) << CheckTiledShape(odd, 4).message();
  EXPECT_THAT(CheckTiledShape(odd, 4, true).message(), HasSubstr("would be 72 of 4 tiles, and 4-bit weights need"));
  EXPECT_TRUE(CheckTiledShape(odd, 1, true).ok()) << CheckTiledShape(odd, 1, true).message();
  EXPECT_EQ(*ChooseTiles(shape, 32), 4);
  EXPECT_EQ(*ChooseTiles(shape, 3), 2);
  shape.n_kv_heads = 2;
  EXPECT_THAT(CheckTiledShape(shape, 2).message(), HasSubstr("2 KV heads for 4 heads"));
  shape.n_kv_heads = 4;
  shape.max_positions = 4096;
  EXPECT_THAT(CheckTiledShape(shape, 1).message(), HasSubstr("scores"));
  const TiledModel tiled = MakeTiled(Quantized(LmHead::kFloat));
  const KvCache cache = *tiled.phi->NewKvCache(8);
  const auto take = [](int32_t /*id*/) { return true; };
  Generation generation = {.first = {1, 4, cache.store(), true}, .count = 5};
  EXPECT_THAT(tiled.backend->Generate(generation, take).message(), HasSubstr("the context has 8"));
  generation = {.first = {1, 4, cache.store(), true}, .count = 1, .rule = {1.0F, 65, 1.0F, 0.0F}};
  EXPECT_FALSE(tiled.backend->CanGenerate(generation));
  EXPECT_THAT(tiled.backend->Generate(generation, take).message(), HasSubstr("a token of 65 candidates"));
  // Activations stay on the card.
  std::vector<StepRow> rows = {{1, 0, cache.store(), true}};
  StepOptions traced;
  traced.trace = [](const std::string& /*name*/, int64_t /*cols*/, std::span<const float> /*values*/) {};
  EXPECT_THAT(tiled.phi->Step(rows, traced).status().message(), HasSubstr("activations stay on the card"));
}

}  // namespace
}  // namespace phidias::fpga
