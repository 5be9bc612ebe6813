// The steps of a measurement against what they must be: shapes that the model holds, costs against sums by hand.

#include "perf/step_run.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "backend/cpu/cpu_backend.h"

namespace phidias {
namespace {

const std::string kTiny = std::string(PHIDIAS_SOURCE_DIR) + "/tests/golden/tiny-phi2";

class StepRunTest : public ::testing::Test {
 protected:
  void SetUp() override {
    Result<LoadedModel> model =
        LoadModel({.path = kTiny, .cpu = {.threads = 1, .isa = "portable"}, .need_tokenizer = false});
    ASSERT_TRUE(model.ok()) << model.status().message();
    model_ = *std::move(model);
  }
  Phi& phi() { return *model_.phi; }
  const PhiConfig& config() const { return model_.checkpoint->config; }

  // The costs of the model's parts, from its configuration.
  int64_t LayerProducts() const {
    const int64_t h = config().hidden_size;
    return config().n_layers * (2 * h * h + 2 * config().kv_size() * h + 2 * h * config().intermediate_size);
  }
  int64_t HeadProducts() const { return config().vocab_size * config().hidden_size; }
  int64_t ElementBytes() const { return DTypeBytes(model_.checkpoint->weights.embed_tokens.dtype, 1); }

  LoadedModel model_;
};

TEST_F(StepRunTest, GenerationReadsAllWeightsAndTheCacheOncePerStep) {
  Result<StepRun> run = StepRun::Create(phi(), {.generate = 3, .depth = 5}, nullptr);
  ASSERT_TRUE(run.ok()) << run.status().message();
  ASSERT_TRUE(run->Run(nullptr).ok());
  ASSERT_TRUE(run->Run(nullptr).ok());  // it begins at the depth again
  const int64_t kv = run->kv_bytes_per_position();
  EXPECT_EQ(kv, 2 * config().n_layers * config().kv_size() * static_cast<int64_t>(sizeof(float)));
  const ModelCost model(*model_.checkpoint, Arithmetic::kFloat, kv);
  EXPECT_EQ(model.parameters(), LayerProducts() + 2 * HeadProducts());
  EXPECT_EQ(model.weight_bytes(), (LayerProducts() + 2 * HeadProducts()) * ElementBytes());
  const StepCost cost = run->Cost(model);
  EXPECT_EQ(cost.bytes,
            3 * (LayerProducts() + HeadProducts() + config().hidden_size) * ElementBytes() + kv * (6 + 7 + 8));
  EXPECT_EQ(cost.products,
            3 * (LayerProducts() + HeadProducts()) + 2 * config().n_layers * config().hidden_size * (6 + 7 + 8));
}

TEST_F(StepRunTest, FourBitWeightsTakeHalfAByteAndTheirMultipliers) {
  Checkpoint four = *model_.checkpoint;
  for (PhiLayerWeights& layer : four.weights.layers) {
    for (LinearWeights* linear : {&layer.q_proj, &layer.k_proj, &layer.v_proj, &layer.dense, &layer.fc1, &layer.fc2}) {
      linear->weight.dtype = DType::kI4;
      linear->quant.group = 32;
      const int64_t groups = linear->weight.rows * linear->quant.Groups(linear->weight.cols);
      linear->quant.multiplier.assign(static_cast<size_t>(groups), uint8_t{1});
    }
  }
  ASSERT_EQ(config().hidden_size % 32, 0);
  const ModelCost model(four, Arithmetic::kFloat, 0);
  EXPECT_EQ(model.parameters(), LayerProducts() + 2 * HeadProducts());
  EXPECT_EQ(model.weight_bytes(), LayerProducts() / 2 + LayerProducts() / 32 + 2 * HeadProducts() * ElementBytes());
}

TEST_F(StepRunTest, PromptsGoInBatchesAndAskForOneRowOfLogits) {
  Result<StepRun> run = StepRun::Create(phi(), {.prompt = 7, .batch = 4}, nullptr);
  ASSERT_TRUE(run.ok());
  ASSERT_TRUE(run->Run(nullptr).ok());
  const StepCost cost = run->Cost(ModelCost(*model_.checkpoint, Arithmetic::kFloat, 0));
  EXPECT_EQ(cost.bytes, (2 * LayerProducts() + HeadProducts() + 7 * config().hidden_size) * ElementBytes());
  EXPECT_EQ(cost.products,
            7 * LayerProducts() + HeadProducts() + 2 * config().n_layers * config().hidden_size * (7 * 8 / 2));
}

TEST_F(StepRunTest, SequencesTogetherReadTheWeightsOnce) {
  Result<StepRun> run = StepRun::Create(phi(), {.generate = 1, .parallel = 3}, nullptr);
  ASSERT_TRUE(run.ok());
  ASSERT_TRUE(run->Run(nullptr).ok());
  const StepCost cost = run->Cost(ModelCost(*model_.checkpoint, Arithmetic::kFloat, 100));
  EXPECT_EQ(cost.bytes, (LayerProducts() + HeadProducts() + 3 * config().hidden_size) * ElementBytes() + 3 * 100);
  EXPECT_EQ(cost.products, 3 * (LayerProducts() + HeadProducts() + 2 * config().n_layers * config().hidden_size));
}

TEST_F(StepRunTest, RefusesShapesThatCantBe) {
  const int64_t limit = config().max_position_embeddings;
  const auto code = [&](const RunShape& shape) { return StepRun::Create(phi(), shape, nullptr).status().code(); };
  EXPECT_EQ(code({}), StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.prompt = 1, .parallel = 0}), StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.prompt = 1, .batch = 0}), StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.prompt = -1, .generate = 2}), StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.prompt = limit}), StatusCode::kOk);
  EXPECT_EQ(code({.prompt = limit + 1}), StatusCode::kResourceExhausted);
  EXPECT_EQ(code({.prompt = 1, .depth = limit}), StatusCode::kResourceExhausted);
  EXPECT_EQ(code({.prompt = INT64_MAX, .generate = INT64_MAX}), StatusCode::kResourceExhausted);
}

TEST_F(StepRunTest, StopsOnRequest) {
  const std::atomic<bool> cancel{true};
  EXPECT_EQ(StepRun::Create(phi(), {.prompt = 1, .depth = 2}, &cancel).status().code(), StatusCode::kCancelled);
  Result<StepRun> run = StepRun::Create(phi(), {.prompt = 1}, &cancel);
  ASSERT_TRUE(run.ok());
  EXPECT_EQ(run->Run(&cancel).code(), StatusCode::kCancelled);
}

}  // namespace
}  // namespace phidias
