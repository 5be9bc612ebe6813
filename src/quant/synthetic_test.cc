// Synthetic checkpoints: the random numbers against the distribution that they are to have, and what is written against
// the readers: it opens, has the shape that was asked for, and runs in both arithmetics without saturating.

#include "quant/synthetic.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <string>

#include "common/file.h"
#include "engine/loaded_model.h"
#include "model/checkpoint.h"
#include "model/files/safetensors.h"
#include "quant/random_weights.h"
#include "ref/linear_i4.h"
#include "tests/support/quant_test_util.h"

namespace phidias {
namespace {

TEST(RandomWeights, QuantilesAreThoseOfTheNormalDistribution) {
  const std::vector<float> z = NormalQuantiles();
  ASSERT_EQ(z.size(), 65536U);
  double squares = 0;
  for (size_t i = 0; i < z.size(); ++i) {
    // The oracle: the distribution function of the C library.
    const double p = 0.5 * std::erfc(-static_cast<double>(z[i]) / std::sqrt(2.0));
    EXPECT_NEAR(p, (static_cast<double>(i) + 0.5) / 65536, 1.2e-5) << i;
    EXPECT_EQ(z[i], -z[z.size() - 1 - i]);
    squares += static_cast<double>(z[i]) * z[i];
  }
  EXPECT_NEAR(squares / 65536, 1.0, 1e-3);
}

TEST(RandomWeights, ValuesDependOnTheirPositionAlone) {
  std::vector<int32_t> table(kDrawValues);
  for (size_t i = 0; i < table.size(); ++i) {
    table[i] = static_cast<int32_t>(i);
  }
  const RandomStream random = {.seed = 7, .stream = 3};
  std::vector<int32_t> whole(200'003);
  ThreadPool pool(3);
  FillFromTable(random, 0, table.data(), std::span(whole), &pool);
  std::vector<int32_t> part(1001);
  FillFromTable(random, 80, table.data(), std::span(part));
  EXPECT_TRUE(std::equal(part.begin(), part.end(), whole.begin() + 80));
  // A draw is 16 bits of Philox's block.
  const numerics::PhiloxBlock block = numerics::Philox4x32({{3, 0, 1, 0}}, 7, 0);
  EXPECT_EQ(whole[8], static_cast<int32_t>(block.word[0] & 0xffffU));
  EXPECT_EQ(whole[15], static_cast<int32_t>(block.word[3] >> 16));
  std::vector<int32_t> other(200'003);
  FillFromTable({.seed = 8, .stream = 3}, 0, table.data(), std::span(other));
  EXPECT_NE(whole, other);
  FillFromTable({.seed = 7, .stream = 4}, 0, table.data(), std::span(other));
  EXPECT_NE(whole, other);
}

TEST(Synthetic, PresetsHaveThePublishedSizes) {
  const auto parameters = [](const PhiConfig& c) {
    const int64_t h = c.hidden_size;
    const int64_t layer = 4 * (h * h + h) + c.intermediate_size * (2 * h + 1) + h + 2 * h;
    return 2 * c.vocab_size * h + c.vocab_size + c.n_layers * layer + 2 * h;
  };
  EXPECT_EQ(parameters(*PresetShape("phi-2")), 2'779'683'840);
  EXPECT_EQ(parameters(*PresetShape("phi-1.5")), 1'418'270'720);
  EXPECT_EQ(parameters(*PresetShape("phi-1")), 1'418'270'720);
  for (const char* name : {"phi-2", "phi-1.5", "phi-1"}) {
    EXPECT_TRUE(ValidatePhiConfig(*PresetShape(name), name).ok());
  }
  EXPECT_EQ(PresetShape("phi-3").status().code(), StatusCode::kNotFound);
}

class SyntheticTest : public ::testing::Test {
 protected:
  std::string out() const { return std::filesystem::path(scratch_.path()).parent_path().string() + "/synth"; }
  static PhiConfig Shape() { return OpenShared(kTinyModel)->config; }
  Result<WrittenSynthetic> Write(const SyntheticOptions& options, const PhiConfig& config = Shape()) {
    return WriteSynthetic(config, out(), options, &pool_);
  }

  ScratchFile scratch_;
  ThreadPool pool_{2};
};

TEST_F(SyntheticTest, WeightsHaveTheStatedDistribution) {
  ASSERT_TRUE(Write({.type = SyntheticType::kInt8}).ok());
  const auto checkpoint = OpenShared(out());
  EXPECT_TRUE(checkpoint->warnings.empty());
  const LinearWeights& fc1 = checkpoint->weights.layers.front().fc1;
  ASSERT_EQ(fc1.weight.dtype, DType::kI8);
  double squares = 0;
  for (int64_t n = 0; n < fc1.weight.rows; ++n) {
    const auto* row = reinterpret_cast<const int8_t*>(fc1.weight.Row(n));
    for (int64_t k = 0; k < fc1.weight.cols; ++k) {
      const double w = static_cast<double>(row[k]) * static_cast<double>(fc1.quant.scale[static_cast<size_t>(n)]);
      squares += w * w;
    }
  }
  EXPECT_NEAR(std::sqrt(squares / static_cast<double>(fc1.weight.rows * fc1.weight.cols)), 0.02, 0.001);
  EXPECT_EQ(checkpoint->weights.embed_tokens.dtype, DType::kF16);
  EXPECT_EQ(checkpoint->weights.lm_head.weight.dtype, DType::kF16);
  EXPECT_EQ(fc1.input, checkpoint->weights.layers.front().q_proj.input);  // one LayerNorm feeds both
}

TEST_F(SyntheticTest, RunsInBothArithmeticsWithoutSaturating) {
  ASSERT_TRUE(Write({.type = SyntheticType::kInt8}).ok());
  for (const Arithmetic arithmetic : {Arithmetic::kFloat, Arithmetic::kInteger}) {
    Result<LoadedModel> model =
        LoadModel({.path = out(), .cpu = {.threads = 1, .isa = {}}, .need_tokenizer = false, .arithmetic = arithmetic});
    ASSERT_TRUE(model.ok()) << model.status().message();
    Result<KvCache> cache = model->phi->NewKvCache(32);
    ASSERT_TRUE(cache.ok());
    std::vector<StepRow> rows;
    for (int32_t i = 0; i < 32; ++i) {
      rows.push_back({.token = 11 * i, .pos = i, .kv = cache->store(), .wants_logits = true});
    }
    const auto logits = model->phi->Step(rows);
    ASSERT_TRUE(logits.ok());
    double squares = 0;
    for (const float value : *logits) {
      ASSERT_TRUE(std::isfinite(value));
      squares += static_cast<double>(value) * static_cast<double>(value);
    }
    // A LayerNorm's output times weights of deviation 0.02.
    const double expected = 0.02 * std::sqrt(static_cast<double>(model->phi->config().hidden_size));
    EXPECT_NEAR(std::sqrt(squares / static_cast<double>(logits->size())), expected, 0.2 * expected);
    EXPECT_EQ(model->phi->backend().saturated(), 0);
  }
}

TEST_F(SyntheticTest, TheSameSeedGivesTheSameBytesInEveryType) {
  ASSERT_TRUE(Write({.seed = 5}).ok());
  const std::string file = out() + "/model.safetensors";
  const std::string first = *ReadFile(file, size_t{1} << 30);
  const auto f16 = OpenShared(out());
  ThreadPool one(1);
  ASSERT_TRUE(WriteSynthetic(Shape(), out(), {.seed = 5, .force = true}, &one).ok());
  EXPECT_EQ(*ReadFile(file, size_t{1} << 30), first);
  ASSERT_TRUE(Write({.seed = 6, .force = true}).ok());
  EXPECT_NE(*ReadFile(file, size_t{1} << 30), first);
  ASSERT_TRUE(Write({.type = SyntheticType::kInt8, .seed = 5, .force = true}).ok());
  const auto int8 = OpenShared(out());
  EXPECT_EQ(int8->weights.layers.back().fc2.bias, f16->weights.layers.back().fc2.bias);
}

// What is stored, tensor by tensor: that 4-bit layers have the stated distribution, and that both files agree.
TEST_F(SyntheticTest, Int4WeightsHaveTheStatedDistribution) {
  const Result<WrittenSynthetic> written = Write({.type = SyntheticType::kInt4, .group = 64});
  ASSERT_TRUE(written.ok()) << written.status().message();
  const Result<TensorStore> weights = ReadSafetensors(out() + "/model.safetensors");
  const Result<TensorStore> constants = ReadSafetensors(out() + "/phidias_int4.safetensors");
  ASSERT_TRUE(weights.ok() && constants.ok());
  const std::string name = "model.layers.0.mlp.fc1";
  const int64_t rows = Shape().intermediate_size;
  const int64_t cols = Shape().hidden_size;
  const int64_t groups = (cols + 63) / 64;
  const StoredTensor& packed = weights->tensors.at(name + ".weight_packed");
  EXPECT_EQ(packed.dtype, DType::kI32);
  EXPECT_EQ(packed.shape, (std::vector<int64_t>{rows, (cols + 7) / 8}));
  EXPECT_EQ(weights->tensors.at(name + ".weight_scale").shape, (std::vector<int64_t>{rows, groups}));
  const auto* scales = reinterpret_cast<const float*>(weights->tensors.at(name + ".weight_scale").data);
  const auto* row_scales = reinterpret_cast<const float*>(constants->tensors.at(name + ".row_scale").data);
  const auto* multipliers = reinterpret_cast<const uint8_t*>(constants->tensors.at(name + ".group_multiplier").data);
  std::vector<float> row(static_cast<size_t>(cols));
  double squares = 0;
  for (int64_t n = 0; n < rows; ++n) {
    const ref::RowI4 stored = {packed.data + n * DTypeBytes(DType::kI4, cols), multipliers + n * groups, 64};
    ref::DequantizeRowI4(stored, row_scales[n], cols, row.data());
    for (const float w : row) {
      squares += static_cast<double>(w) * w;
    }
    for (int64_t g = 0; g < groups; ++g) {
      ASSERT_GE(stored.multiplier[g], 1);
      ASSERT_LE(stored.multiplier[g], 63);
      ASSERT_EQ(scales[n * groups + g], row_scales[n] * static_cast<float>(stored.multiplier[g]));
    }
  }
  EXPECT_NEAR(std::sqrt(squares / static_cast<double>(rows * cols)), 0.02, 0.001);
  EXPECT_NE(ReadFile(out() + "/config.json", 1 << 20)->find("\"group_size\": 64"), std::string::npos);
}

TEST_F(SyntheticTest, ShardsAndTiedEmbeddings) {
  PhiConfig config = Shape();
  config.tie_word_embeddings = true;
  const Result<WrittenSynthetic> written = Write({.shards = {.shard_bytes = 100'000}}, config);
  ASSERT_TRUE(written.ok()) << written.status().message();
  EXPECT_GT(written->files, 1);
  const auto checkpoint = OpenShared(out());
  EXPECT_EQ(checkpoint->weights.lm_head.weight.data, checkpoint->weights.embed_tokens.data);
}

TEST_F(SyntheticTest, RefusesAndLeavesNothing) {
  const auto left = [this] {
    const std::filesystem::directory_iterator files(std::filesystem::path(out()).parent_path());
    return std::distance(begin(files), end(files));
  };
  EXPECT_EQ(Write({.tokenizer = "/nowhere"}).status().code(), StatusCode::kNotFound);
  // The tiny model has 512 rows, the demo's tokenizer 4096 ids.
  EXPECT_EQ(Write({.tokenizer = kDemoModel}).status().code(), StatusCode::kInvalidArgument);
  PhiConfig huge = Shape();
  huge.vocab_size = kMaxVocabSize;
  huge.hidden_size = kMaxHiddenSize;
  const Result<WrittenSynthetic> no_room = Write({}, huge);
  EXPECT_EQ(no_room.status().code(), StatusCode::kResourceExhausted);
  EXPECT_NE(no_room.status().message().find("are free"), std::string::npos) << no_room.status().message();
  const std::atomic<bool> cancel{true};
  EXPECT_EQ(Write({.shards = {.cancel = &cancel}}).status().code(), StatusCode::kCancelled);
  EXPECT_EQ(left(), 0);
  ASSERT_TRUE(Write({}).ok());
  EXPECT_EQ(Write({}).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(left(), 1);
}

}  // namespace
}  // namespace phidias
