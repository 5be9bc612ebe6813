#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "backend/cpu/cpu_backend.h"
#include "backend/fpga/tiled_backend.h"
#include "numerics/bits.h"
#include "tests/support/logits.h"
#include "tests/support/quantized_demo.h"

// What the tests of the design `tiled` share: the demo model in integers on the CPU and on a card, and their logits.
namespace phidias::fpga {

using testing_support::Quantized;

// Packed models of this program's tests go to a folder of its own, which it takes away with it.
inline void UseOwnCache() {
  struct Folder {
    Folder() { setenv("PHIDIAS_CACHE", path.c_str(), 1); }
    ~Folder() { std::filesystem::remove_all(path); }
    std::string path = StrCat(::testing::TempDir(), "phidias-tiled-", getpid());
  };
  static const Folder kFolder;
}

struct TiledModel {
  std::unique_ptr<Phi> phi;
  CardBackend* backend = nullptr;
};

inline TiledModel MakeTiled(const std::shared_ptr<const Checkpoint>& checkpoint, const OpenCard& open,
                            int64_t tiles = 0) {
  UseOwnCache();
  const CardOptions options = {.cpu = {.threads = 1, .isa = ""}};
  auto backend = CreateTiledBackend(ShapeOf(checkpoint->config), options, *checkpoint->integer, open, tiles);
  EXPECT_TRUE(backend.ok()) << backend.status().message();
  TiledModel model;
  model.backend = backend->get();
  auto phi = Phi::Create(checkpoint, *std::move(backend));
  EXPECT_TRUE(phi.ok()) << phi.status().message();
  model.phi = *std::move(phi);
  return model;
}

inline std::unique_ptr<Phi> MakeCpu(const std::shared_ptr<const Checkpoint>& checkpoint) {
  auto phi = Phi::Create(checkpoint, *CreateBackend(*checkpoint, {.threads = 1, .isa = ""}, Arithmetic::kInteger));
  EXPECT_TRUE(phi.ok()) << phi.status().message();
  return *std::move(phi);
}

inline std::vector<uint32_t> LogitBits(Phi& phi, const std::vector<int32_t>& ids, size_t batch) {
  std::vector<uint32_t> bits;
  for (const float logit : testing_support::Logits(phi, ids, batch)) {
    bits.push_back(numerics::BitsOf(logit));
  }
  return bits;
}

inline const std::vector<int32_t>& Ids() {
  static const std::vector<int32_t> kIds = {393, 26, 1855, 396, 259, 964, 487, 259, 451, 934, 274, 259, 1111};
  return kIds;
}

// The prompt but its last token computed, `generation` is the rest: all ids that it chooses.
inline std::vector<int32_t> GenerateAfter(TiledModel& model, const KvCache& cache, const std::vector<int32_t>& prompt,
                                          Generation generation) {
  std::vector<StepRow> rows;
  for (size_t pos = 0; pos + 1 < prompt.size(); ++pos) {
    rows.push_back({prompt[pos], static_cast<int32_t>(pos), cache.store(), false});
  }
  EXPECT_TRUE(rows.empty() || model.phi->Step(rows).ok());
  generation.first = {prompt.back(), static_cast<int32_t>(rows.size()), cache.store(), true};
  EXPECT_TRUE(model.phi->CanGenerate(generation));
  std::vector<int32_t> ids;
  const Status status = model.phi->Generate(generation, [&ids](int32_t id) {
    ids.push_back(id);
    return true;
  });
  EXPECT_TRUE(status.ok()) << status.message();
  return ids;
}

inline void ExpectSameLogits(const std::vector<uint32_t>& got, const std::vector<uint32_t>& want,
                             const std::string& what) {
  ASSERT_EQ(got.size(), want.size());
  const auto differ = std::mismatch(got.begin(), got.end(), want.begin());
  EXPECT_TRUE(differ.first == got.end()) << what << ": first at " << differ.first - got.begin();
}

// The index of the largest, the smallest among equals.
inline int32_t Best(std::span<const float> logits, const std::vector<int32_t>& banned) {
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

inline std::vector<int32_t> GreedyOnCpu(Phi& phi, const std::vector<int32_t>& prompt, int count,
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

}  // namespace phidias::fpga
