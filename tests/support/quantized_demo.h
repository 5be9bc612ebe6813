#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "common/thread_pool.h"
#include "engine/loaded_model.h"
#include "numerics/random.h"
#include "quant/calibration.h"
#include "quant/dataset.h"
#include "quant/quantizer.h"

namespace phidias::testing_support {

inline const std::string kRoot = PHIDIAS_SOURCE_DIR;

// A model quantised with integer constants, calibrated on a few rows; `lm_head` as given.
inline std::shared_ptr<const Checkpoint> QuantizeInIntegers(const LoadedModel& model,
                                                            std::span<const std::vector<int32_t>> rows,
                                                            LmHead lm_head) {
  const auto stats = Calibrate(*model.phi, rows, {.sample_tokens = 128});
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

inline std::shared_ptr<const Checkpoint> QuantizeDemo(LmHead lm_head) {
  const LoadedModel model = *LoadModel({.path = kRoot + "/models/demo"});
  const auto rows = LoadDataset(*model.tokenizer, kRoot + "/tests/data/calib32.jsonl", {.samples = 12});
  EXPECT_TRUE(rows.ok()) << rows.status().message();
  return QuantizeInIntegers(model, rows->rows, lm_head);
}

// tiny-phi2, which has Phi-2's head_dim, 2 heads and no tokenizer.
inline std::shared_ptr<const Checkpoint> QuantizeTiny() {
  const LoadedModel model = *LoadModel({.path = kRoot + "/tests/golden/tiny-phi2", .need_tokenizer = false});
  std::vector<std::vector<int32_t>> rows(8);
  for (uint64_t i = 0; i < 8 * 64; ++i) {
    rows[i % 8].push_back(static_cast<int32_t>(numerics::RandomBits(1, 0, i) % 512));
  }
  return QuantizeInIntegers(model, rows, LmHead::kFloat);
}

// The same, once a program for each lm_head.
inline const std::shared_ptr<const Checkpoint>& Quantized(LmHead lm_head) {
  if (lm_head == LmHead::kInt16) {
    static const auto kWideHead = QuantizeDemo(LmHead::kInt16);
    return kWideHead;
  }
  static const auto kFloatHead = QuantizeDemo(LmHead::kFloat);
  return kFloatHead;
}

}  // namespace phidias::testing_support
