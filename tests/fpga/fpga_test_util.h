#pragma once

#include <unistd.h>

#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "backend/cpu/cpu_backend.h"
#include "model/phi.h"
#include "tests/support/direct_card.h"
#include "tests/support/goldens.h"

// What the tests of models on a card share: a small int8 model, its forward pass with every activation, comparison bit
// by bit.
namespace phidias::fpga {

inline const std::string kTinyInt8 = kGolden + "tiny-phi2-int8";

inline std::string Scratch(const std::string& name) {
  return ::testing::TempDir() + "phidias-fpga-" + std::to_string(getpid()) + "-" + name;
}

inline std::shared_ptr<const Checkpoint> Open(const std::string& path) {
  auto checkpoint = OpenCheckpoint(path);
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  return std::make_shared<const Checkpoint>(*std::move(checkpoint));
}

inline std::unique_ptr<Phi> OnCpu(const std::shared_ptr<const Checkpoint>& checkpoint) {
  auto backend = CreateCpuBackend(ShapeOf(checkpoint->config), {.threads = 1, .isa = {}});
  EXPECT_TRUE(backend.ok());
  auto phi = Phi::Create(checkpoint, *std::move(backend));
  EXPECT_TRUE(phi.ok()) << phi.status().message();
  return *std::move(phi);
}

using Trace = std::map<std::string, std::vector<float>>;

// Every activation of `ids`, `step` tokens at a time; only every other token wants logits, so that the rows of a step
// and of its logits differ.
inline Trace Forward(Phi& phi, const std::vector<int32_t>& ids, size_t step, bool traced) {
  Trace trace;
  auto cache = phi.NewKvCache(static_cast<int64_t>(ids.size()));
  EXPECT_TRUE(cache.ok()) << cache.status().message();
  std::vector<StepRow> rows;
  for (const int32_t id : ids) {
    const auto pos = static_cast<int32_t>(rows.size());
    rows.push_back({.token = id, .pos = pos, .kv = cache->store(), .wants_logits = pos % 2 == 1});
  }
  StepOptions options;
  if (traced) {
    options.trace = [&trace](const std::string& name, int64_t /*cols*/, std::span<const float> values) {
      trace[name].insert(trace[name].end(), values.begin(), values.end());
    };
  }
  for (size_t i = 0; i < rows.size(); i += step) {
    const auto logits = phi.Step(std::span(rows).subspan(i, std::min(step, rows.size() - i)), options);
    EXPECT_TRUE(logits.ok()) << logits.status().message();
    if (logits.ok()) {
      trace["step"].insert(trace["step"].end(), logits->begin(), logits->end());
    }
  }
  return trace;
}

inline void ExpectSameBits(const Trace& a, const Trace& b) {
  ASSERT_EQ(a.size(), b.size());
  for (const auto& [name, values] : a) {
    ASSERT_TRUE(b.contains(name)) << name;
    ASSERT_EQ(values.size(), b.at(name).size()) << name;
    EXPECT_EQ(std::memcmp(values.data(), b.at(name).data(), values.size() * sizeof(float)), 0) << name;
  }
}

inline const std::vector<int32_t> kIds = {5, 77, 300, 2, 2, 511, 40};

// With a cache of packed models of its own.
class CardTest : public ::testing::Test {
 protected:
  void SetUp() override { setenv("PHIDIAS_CACHE", cache_.c_str(), 1); }
  void TearDown() override { std::system(("rm -rf '" + cache_ + "'").c_str()); }

  std::string cache_ = Scratch("cache");
};

}  // namespace phidias::fpga
