#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "common/thread_pool.h"
#include "engine/loaded_model.h"
#include "quant/calibration.h"
#include "quant/dataset.h"
#include "quant/quantizer.h"

namespace phidias::testing_support {

inline const std::string kRoot = PHIDIAS_SOURCE_DIR;

// The demo model quantised with integer constants, calibrated on a few rows; `lm_head` as given.
inline std::shared_ptr<const Checkpoint> QuantizeDemo(LmHead lm_head) {
  const LoadedModel model = *LoadModel({.path = kRoot + "/models/demo"});
  const auto rows = LoadDataset(*model.tokenizer, kRoot + "/tests/data/calib32.jsonl", {.samples = 12});
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
