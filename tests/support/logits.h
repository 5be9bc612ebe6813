#pragma once

// A model's logits, and how far two sets of them are apart.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "model/phi.h"

namespace phidias::testing_support {

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
