#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "backend/cpu/cpu_backend.h"
#include "model/phi.h"
#include "numerics/random.h"
#include "tests/support/logits.h"

namespace phidias {

inline const std::string kTinyModel = std::string(PHIDIAS_SOURCE_DIR) + "/tests/golden/tiny-phi2";
inline const std::string kDemoModel = std::string(PHIDIAS_SOURCE_DIR) + "/models/demo";

inline std::shared_ptr<const Checkpoint> OpenShared(const std::string& path) {
  Result<Checkpoint> checkpoint = OpenCheckpoint(path);
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  return std::make_shared<const Checkpoint>(*std::move(checkpoint));
}

inline std::unique_ptr<Phi> PhiOf(std::shared_ptr<const Checkpoint> checkpoint, int threads = 1) {
  auto backend = CreateCpuBackend(ShapeOf(checkpoint->config), {.threads = threads, .isa = {}});
  EXPECT_TRUE(backend.ok()) << backend.status().message();
  auto phi = Phi::Create(std::move(checkpoint), *std::move(backend));
  EXPECT_TRUE(phi.ok()) << phi.status().message();
  return *std::move(phi);
}

// One row after the other.
inline std::vector<float> LogitsOfRows(Phi& phi, const std::vector<std::vector<int32_t>>& rows) {
  std::vector<float> all;
  for (const std::vector<int32_t>& row : rows) {
    const std::vector<float> logits = testing_support::Logits(phi, row, row.size());
    all.insert(all.end(), logits.begin(), logits.end());
  }
  return all;
}

// Rows of random ids for the tiny model (vocabulary 512, 128 positions), of 2 to 40 tokens.
inline std::vector<std::vector<int32_t>> RandomRows(size_t count, uint64_t seed = 1) {
  std::vector<std::vector<int32_t>> rows(count);
  for (size_t i = 0; i < count; ++i) {
    rows[i].resize(2 + numerics::ScaleBits(numerics::RandomBits(seed, i, 1000), 39));
    for (size_t pos = 0; pos < rows[i].size(); ++pos) {
      rows[i][pos] = static_cast<int32_t>(numerics::ScaleBits(numerics::RandomBits(seed, i, pos), 512));
    }
  }
  return rows;
}

// A path in a directory of its own, which goes away with the object.
class ScratchFile {
 public:
  ScratchFile() {
    std::string path = ::testing::TempDir() + "phidias-quant-XXXXXX";
    directory_ = mkdtemp(path.data()) != nullptr ? path : "";
    EXPECT_NE(directory_, "");
  }
  ScratchFile(const ScratchFile&) = delete;
  ScratchFile& operator=(const ScratchFile&) = delete;
  ~ScratchFile() { EXPECT_EQ(std::system(("rm -rf '" + directory_ + "'").c_str()), 0); }
  std::string path() const { return directory_ + "/state.json"; }

 private:
  std::string directory_;
};

}  // namespace phidias
