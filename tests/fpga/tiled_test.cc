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

struct TiledModel {
  std::unique_ptr<Phi> phi;
  TiledBackend* backend = nullptr;
};

TiledModel MakeTiled(const std::shared_ptr<const Checkpoint>& checkpoint, int64_t tiles) {
  const CardOptions options = {.cpu = {.threads = 1, .isa = ""}};
  auto backend = CreateTiledBackend(
      ShapeOf(checkpoint->config), options, *checkpoint->integer,
      [](const HbmPlacement& placement) -> Result<std::unique_ptr<CardDevice>> {
        return std::unique_ptr<CardDevice>(std::make_unique<StreamedCard>(placement.link));
      },
      tiles);
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

TEST(TiledModel, LogitsAreTheCpusBits) {
  for (const LmHead lm_head : {LmHead::kFloat, LmHead::kInt16}) {
    const auto checkpoint = Quantize(lm_head);
    const std::vector<uint32_t> want = LogitBits(*MakeCpu(checkpoint), Ids(), 100);
    for (const int64_t tiles : {1, 2, 4}) {
      const TiledModel tiled = MakeTiled(checkpoint, tiles);
      for (const size_t batch : {size_t{1}, size_t{3}, size_t{100}}) {
        const std::vector<uint32_t> got = LogitBits(*tiled.phi, Ids(), batch);
        ASSERT_EQ(got.size(), want.size());
        for (size_t i = 0; i < got.size(); ++i) {
          ASSERT_EQ(got[i], want[i]) << tiles << " tiles, batch " << batch << ", at " << i;
        }
      }
    }
  }
}

}  // namespace
}  // namespace phidias::fpga
