// The design `tiled` in the C simulation: whole models against the CPU's integer arithmetic, bit by bit, with the
// host's packing, command ring and KV caches.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "backend/cpu/cpu_backend.h"
#include "backend/fpga/tiled_backend.h"
#include "backend/fpga/tiled_link.h"
#include "backend/fpga/tiled_packer.h"
#include "common/thread_pool.h"
#include "engine/loaded_model.h"
#include "numerics/bits.h"
#include "quant/calibration.h"
#include "quant/dataset.h"
#include "quant/quantizer.h"
#include "tests/support/quant_test_util.h"
#include "tests/support/streamed_card.h"

namespace phidias::fpga {
namespace {

using ::testing::HasSubstr;

const std::string kRoot = PHIDIAS_SOURCE_DIR;

// The demo model with integer constants, calibrated on a few rows; `lm_head` as given.
std::shared_ptr<const Checkpoint> Quantize(LmHead lm_head) {
  const LoadedModel model = *LoadModel({.path = kRoot + "/models/demo"});
  const auto rows = LoadDataset(*model.tokenizer, kRoot + "/tests/data/calib32.jsonl", {.samples = 8});
  EXPECT_TRUE(rows.ok()) << rows.status().message();
  const auto stats = Calibrate(*model.phi, rows->rows, {.sample_tokens = 128});
  EXPECT_TRUE(stats.ok()) << stats.status().message();
  QuantScheme scheme = *PresetScheme("best");
  scheme.smoothing = Smoothing::kNone;
  scheme.lm_head = lm_head;
  scheme.integer = true;
  ThreadPool pool(2);
  Result<Checkpoint> quantized = QuantizeModel(*model.checkpoint, &*stats, scheme, &pool);
  EXPECT_TRUE(quantized.ok()) << quantized.status().message();
  return std::make_shared<const Checkpoint>(*std::move(quantized));
}

const std::shared_ptr<const Checkpoint>& Quantized(LmHead lm_head) {
  if (lm_head == LmHead::kInt16) {
    static const auto kWideHead = Quantize(LmHead::kInt16);
    return kWideHead;
  }
  static const auto kFloatHead = Quantize(LmHead::kFloat);
  return kFloatHead;
}

struct TiledModel {
  std::unique_ptr<Phi> phi;
  TiledBackend* backend = nullptr;
};

struct TiledOptions {
  int64_t tiles = 0;
  int depth = 0;  // of the streams between units; 0: the design's
};

TiledModel MakeTiled(const std::shared_ptr<const Checkpoint>& checkpoint, const TiledOptions& choice = {}) {
  const CardOptions options = {.cpu = {.threads = 1, .isa = ""}};
  const auto open = [&choice](const HbmPlacement& placement) -> Result<std::unique_ptr<CardDevice>> {
    LinkFile link = placement.link;
    for (LinkStream& stream : link.streams) {
      stream.depth = choice.depth > 0 ? choice.depth : stream.depth;
    }
    return std::unique_ptr<CardDevice>(std::make_unique<StreamedCard>(std::move(link)));
  };
  auto backend = CreateTiledBackend(ShapeOf(checkpoint->config), options, *checkpoint->integer, open, choice.tiles);
  EXPECT_TRUE(backend.ok()) << backend.status().message();
  TiledModel model;
  model.backend = backend->get();
  auto phi = Phi::Create(checkpoint, *std::move(backend));
  EXPECT_TRUE(phi.ok()) << phi.status().message();
  model.phi = *std::move(phi);
  return model;
}

std::unique_ptr<Phi> MakeCpu(const std::shared_ptr<const Checkpoint>& checkpoint) {
  auto phi = Phi::Create(checkpoint, *CreateBackend(*checkpoint, {.threads = 1, .isa = ""}, Arithmetic::kInteger));
  EXPECT_TRUE(phi.ok()) << phi.status().message();
  return *std::move(phi);
}

std::vector<uint32_t> LogitBits(Phi& phi, const std::vector<int32_t>& ids, size_t batch) {
  const KvCache cache = *phi.NewKvCache(static_cast<int64_t>(ids.size()));
  std::vector<uint32_t> out;
  for (size_t begin = 0; begin < ids.size(); begin += batch) {
    std::vector<StepRow> rows;
    for (size_t pos = begin; pos < std::min(begin + batch, ids.size()); ++pos) {
      rows.push_back({ids[pos], static_cast<int32_t>(pos), cache.store(), true});
    }
    const auto logits = phi.Step(rows);
    EXPECT_TRUE(logits.ok()) << logits.status().message();
    for (const float logit : *logits) {
      out.push_back(numerics::BitsOf(logit));
    }
  }
  return out;
}

const std::vector<int32_t>& Ids() {
  static const std::vector<int32_t> kIds = {393, 26, 1855, 396, 259, 964, 487, 259, 451, 934, 274, 259, 1111};
  return kIds;
}

void ExpectSameLogits(const std::vector<uint32_t>& got, const std::vector<uint32_t>& want, const std::string& what) {
  ASSERT_EQ(got.size(), want.size());
  const auto differ = std::mismatch(got.begin(), got.end(), want.begin());
  EXPECT_TRUE(differ.first == got.end()) << what << ": first at " << differ.first - got.begin();
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

// The core sends and collects whole messages: the streams between units need no depth at all.
TEST(TiledModel, StreamsBetweenUnitsMayBeShallow) {
  const auto& checkpoint = Quantized(LmHead::kFloat);
  const std::vector<int32_t> ids(Ids().begin(), Ids().begin() + 6);
  const TiledModel tiled = MakeTiled(checkpoint, {.tiles = 2, .depth = 1});
  ExpectSameLogits(LogitBits(*tiled.phi, ids, 4), LogitBits(*MakeCpu(checkpoint), ids, 4), "depth 1");
}

// The index of the largest, the smallest among equals.
int32_t Best(std::span<const float> logits, const std::vector<int32_t>& banned) {
  int32_t best = -1;
  for (size_t i = 0; i < logits.size(); ++i) {
    const auto id = static_cast<int32_t>(i);
    if (std::find(banned.begin(), banned.end(), id) == banned.end() &&
        (best < 0 || logits[i] > logits[static_cast<size_t>(best)])) {
      best = id;
    }
  }
  return best;
}

std::vector<int32_t> GreedyOnCpu(Phi& phi, const std::vector<int32_t>& prompt, int count,
                                 const std::vector<int32_t>& banned) {
  const KvCache cache = *phi.NewKvCache(static_cast<int64_t>(prompt.size()) + count);
  std::vector<StepRow> rows;
  for (size_t pos = 0; pos < prompt.size(); ++pos) {
    rows.push_back({prompt[pos], static_cast<int32_t>(pos), cache.store(), pos + 1 == prompt.size()});
  }
  std::vector<int32_t> ids;
  while (static_cast<int>(ids.size()) < count) {
    ids.push_back(Best(*phi.Step(rows), banned));
    rows = {{ids.back(), static_cast<int32_t>(prompt.size() + ids.size() - 1), cache.store(), true}};
  }
  return ids;
}

TEST(TiledModel, SixtyFourTokensChosenOnTheCardWithoutAStart) {
  const auto& checkpoint = Quantized(LmHead::kFloat);
  const std::vector<int32_t> banned = {0, 5};
  const std::vector<int32_t> want = GreedyOnCpu(*MakeCpu(checkpoint), Ids(), 64, banned);
  const TiledModel tiled = MakeTiled(checkpoint);
  const auto starts = tiled.backend->Use().runs;
  const KvCache cache = *tiled.phi->NewKvCache(static_cast<int64_t>(Ids().size()) + 64);
  std::vector<StepRow> rows;
  for (size_t pos = 0; pos + 1 < Ids().size(); ++pos) {
    rows.push_back({Ids()[pos], static_cast<int32_t>(pos), cache.store(), false});
  }
  ASSERT_TRUE(tiled.phi->Step(rows).ok());
  CardGeneration generation = {
      .token = Ids().back(), .position = static_cast<int32_t>(Ids().size()) - 1, .count = 64, .banned = banned};
  auto got = tiled.backend->Generate(*cache.store(), generation);
  ASSERT_TRUE(got.ok()) << got.status().message();
  EXPECT_EQ(*got, want);
  EXPECT_EQ(tiled.backend->Use().runs, starts);

  // The same again over the same positions, ended by a token of its own.
  generation.end = want[20];
  const auto first = std::find(want.begin(), want.end(), generation.end) - want.begin();
  got = tiled.backend->Generate(*cache.store(), generation);
  ASSERT_TRUE(got.ok()) << got.status().message();
  EXPECT_EQ(*got, std::vector<int32_t>(want.begin(), want.begin() + first + 1));
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

TEST(TiledModel, RefusesWhatItCantRun) {
  ModelShape shape = ShapeOf(Quantized(LmHead::kFloat)->config);
  EXPECT_THAT(CheckTiledShape(shape, 3).message(), HasSubstr("divides the model's 4 heads"));
  EXPECT_EQ(*ChooseTiles(shape, 32), 4);
  EXPECT_EQ(*ChooseTiles(shape, 3), 2);
  shape.n_kv_heads = 2;
  EXPECT_THAT(CheckTiledShape(shape, 2).message(), HasSubstr("2 KV heads for 4 heads"));
  shape.n_kv_heads = 4;
  shape.max_positions = 4096;
  EXPECT_THAT(CheckTiledShape(shape, 1).message(), HasSubstr("scores"));
  const TiledModel tiled = MakeTiled(Quantized(LmHead::kFloat));
  const KvCache cache = *tiled.phi->NewKvCache(8);
  const CardGeneration too_long = {.token = 1, .position = 4, .count = 5, .banned = {}};
  EXPECT_THAT(tiled.backend->Generate(*cache.store(), too_long).status().message(), HasSubstr("the context has 8"));
  // Activations stay on the card.
  std::vector<StepRow> rows = {{1, 0, cache.store(), true}};
  StepOptions traced;
  traced.trace = [](const std::string& /*name*/, int64_t /*cols*/, std::span<const float> /*values*/) {};
  EXPECT_THAT(tiled.phi->Step(rows, traced).status().message(), HasSubstr("activations stay on the card"));
}

}  // namespace
}  // namespace phidias::fpga
