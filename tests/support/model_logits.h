#pragma once

// A checkpoint on a CPU back end, and its logits.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "engine/loaded_model.h"

namespace phidias::testing_support {

inline std::unique_ptr<Phi> MakePhi(const std::shared_ptr<const Checkpoint>& checkpoint, Arithmetic arithmetic,
                                    const CpuOptions& cpu = {}) {
  auto backend = CreateBackend(*checkpoint, cpu, arithmetic);
  EXPECT_TRUE(backend.ok()) << backend.status().message();
  auto phi = Phi::Create(checkpoint, *std::move(backend));
  EXPECT_TRUE(phi.ok()) << phi.status().message();
  return *std::move(phi);
}

// The logits of every position, `batch` tokens a step.
inline std::vector<float> Logits(Phi& phi, const std::vector<int32_t>& ids, size_t batch) {
  const KvCache cache = *phi.NewKvCache(static_cast<int64_t>(ids.size()));
  std::vector<float> out;
  for (size_t begin = 0; begin < ids.size(); begin += batch) {
    std::vector<StepRow> rows;
    for (size_t pos = begin; pos < std::min(begin + batch, ids.size()); ++pos) {
      rows.push_back({ids[pos], static_cast<int32_t>(pos), cache.store(), true});
    }
    const auto logits = phi.Step(rows);
    EXPECT_TRUE(logits.ok()) << logits.status().message();
    out.insert(out.end(), logits->begin(), logits->end());
  }
  return out;
}

// Some English of the demo model's tokenizer.
inline const std::vector<int32_t>& Ids() {
  static const std::vector<int32_t> kIds = {393,  26,  1855, 396, 259,  964, 487, 259, 451, 934,  274, 259, 1111, 1255,
                                            14,   199, 394,  26,  1488, 660, 259, 511, 12,  454,  308, 259, 451,  747,
                                            1117, 961, 14,   566, 1198, 277, 575, 347, 349, 1255, 274, 900, 884,  262};
  return kIds;
}

// ||got - want|| / ||want||.
inline double RelativeError(const std::vector<float>& got, const std::vector<float>& want) {
  double difference = 0;
  double norm = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    difference += std::pow(static_cast<double>(got[i]) - want[i], 2);
    norm += std::pow(static_cast<double>(want[i]), 2);
  }
  return std::sqrt(difference / norm);
}

}  // namespace phidias::testing_support
