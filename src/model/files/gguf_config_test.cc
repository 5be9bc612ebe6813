// The configuration out of GGUF metadata: the golden's, defaults, and each key that can be missing, mistyped or
// unsupported, with the message that it gets.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>

#include "model/files/gguf.h"

namespace phidias {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

GgufFile TinyFile() {
  GgufFile file;
  file.path = "x.gguf";
  file.metadata = {
      {"general.architecture", std::string("phi2")},
      {"phi2.context_length", int64_t{128}},
      {"phi2.embedding_length", int64_t{160}},
      {"phi2.feed_forward_length", int64_t{640}},
      {"phi2.block_count", int64_t{3}},
      {"phi2.attention.head_count", int64_t{2}},
      {"phi2.attention.layer_norm_epsilon", 1e-5},
      {"phi2.rope.dimension_count", int64_t{32}},
  };
  StoredTensor embedding;
  embedding.name = "token_embd.weight";
  embedding.dtype = DType::kF16;
  embedding.shape = {512, 160};
  file.store.tensors["token_embd.weight"] = embedding;
  return file;
}

void ExpectError(const std::function<void(GgufFile*)>& change, const std::string& message,
                 StatusCode code = StatusCode::kDataError) {
  GgufFile file = TinyFile();
  change(&file);
  const auto config = GgufPhiConfig(file);
  ASSERT_FALSE(config.ok()) << "expected: " << message;
  EXPECT_EQ(config.status().code(), code);
  EXPECT_THAT(config.status().message(), StartsWith("x.gguf: "));
  EXPECT_THAT(config.status().message(), HasSubstr(message));
}

// Sets one key.
std::function<void(GgufFile*)> Set(const std::string& key, GgufValue value) {
  return [key, value](GgufFile* file) { file->metadata[key] = value; };
}

TEST(GgufConfigTest, ReadsTheGolden) {
  const auto file = ReadGguf(std::string(PHIDIAS_SOURCE_DIR) + "/tests/golden/tiny-phi2-fused.gguf");
  ASSERT_TRUE(file.ok()) << file.status().message();
  const auto config = GgufPhiConfig(*file);
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ(config->naming, TensorNaming::kGguf);
  EXPECT_EQ(config->vocab_size, 512);
  EXPECT_EQ(config->hidden_size, 160);
  EXPECT_EQ(config->intermediate_size, 640);
  EXPECT_EQ(config->n_layers, 3);
  EXPECT_EQ(config->n_heads, 2);
  EXPECT_EQ(config->n_kv_heads, 2);
  EXPECT_EQ(config->head_dim, 80);
  EXPECT_EQ(config->rotary_dim, 32);
  EXPECT_EQ(config->max_position_embeddings, 128);
  EXPECT_EQ(config->layer_norm_eps, 1e-5F);
  EXPECT_EQ(config->rope_theta, 10000.0);
  EXPECT_FALSE(config->tie_word_embeddings);
  EXPECT_EQ(config->bos_token_id, 0);
  EXPECT_THAT(config->eos_token_ids, ElementsAre(0));
  EXPECT_EQ(config->torch_dtype, "F32");
}

TEST(GgufConfigTest, OptionalKeys) {
  GgufFile file = TinyFile();
  auto config = GgufPhiConfig(file);
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ(config->n_kv_heads, 2);
  EXPECT_EQ(config->bos_token_id, std::nullopt);
  EXPECT_TRUE(config->eos_token_ids.empty());
  EXPECT_EQ(config->torch_dtype, "F16");

  file.metadata["phi2.attention.head_count_kv"] = int64_t{1};
  file.metadata["phi2.attention.key_length"] = int64_t{80};
  file.metadata["phi2.rope.freq_base"] = 5000.0;
  file.metadata["phi2.rope.scaling.type"] = std::string("none");
  file.metadata["tokenizer.ggml.bos_token_id"] = int64_t{7};
  file.metadata["tokenizer.ggml.eos_token_id"] = int64_t{8};
  file.metadata["tokenizer.ggml.eot_token_id"] = int64_t{9};
  config = GgufPhiConfig(file);
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ(config->n_kv_heads, 1);
  EXPECT_EQ(config->rope_theta, 5000.0);
  EXPECT_EQ(config->bos_token_id, 7);
  EXPECT_THAT(config->eos_token_ids, ElementsAre(8, 9));

  file.metadata["tokenizer.ggml.eot_token_id"] = int64_t{8};
  EXPECT_THAT(GgufPhiConfig(file)->eos_token_ids, ElementsAre(8));
}

TEST(GgufConfigTest, EveryRequiredKeyIsNamedWhenMissingOrMistyped) {
  for (const auto& [key, value] : TinyFile().metadata) {
    ExpectError([k = key](GgufFile* file) { file->metadata.erase(k); }, "metadata key \"" + key + "\" is missing");
    ExpectError(Set(key, std::vector<std::string>{"x"}), "metadata key \"" + key + "\" must be a");
  }
  ExpectError(Set("phi2.block_count", 3.0), "\"phi2.block_count\" must be an integer, found a float");
  ExpectError(Set("phi2.attention.layer_norm_epsilon", int64_t{1}), "must be a float, found an integer");
  ExpectError(Set("phi2.attention.head_count_kv", std::vector<int64_t>{2, 2}),
              "\"phi2.attention.head_count_kv\" must be an integer, found an array of integers");
  ExpectError(Set("phi2.rope.freq_base", std::string("x")), "\"phi2.rope.freq_base\" must be a float, found a string");
  ExpectError(Set("tokenizer.ggml.eos_token_id", true),
              "\"tokenizer.ggml.eos_token_id\" must be an integer, found a boolean");
}

TEST(GgufConfigTest, RefusesOtherArchitecturesAndRopeScaling) {
  const StatusCode unsupported = StatusCode::kUnsupported;
  ExpectError(Set("general.architecture", std::string("phi3")),
              "general.architecture is \"phi3\"; only \"phi2\" runs here", unsupported);
  ExpectError(Set("phi2.rope.scaling.type", std::string("yarn")), "phi2.rope.scaling.type is \"yarn\"", unsupported);
  ExpectError(Set("phi2.rope.scaling.factor", 4.0), "phi2.rope.scaling.factor is 4", unsupported);
  ExpectError(Set("phi2.rope.scale_linear", 2.0), "phi2.rope.scale_linear is 2", unsupported);
  ExpectError(Set("phi2.attention.key_length", int64_t{64}), "phi2.attention.key_length is 64", unsupported);
}

TEST(GgufConfigTest, RefusesImpossibleNumbers) {
  ExpectError(Set("phi2.attention.head_count", int64_t{0}), "phi2.attention.head_count 0");
  ExpectError(Set("phi2.attention.head_count", int64_t{3}), "must be a positive multiple");
  ExpectError(Set("phi2.embedding_length", int64_t{-160}), "phi2.embedding_length is -160");
  for (const double epsilon : {0.0, -1e-5, 1e300, std::numeric_limits<double>::quiet_NaN()}) {
    ExpectError(Set("phi2.attention.layer_norm_epsilon", epsilon), "phi2.attention.layer_norm_epsilon is");
  }
  ExpectError(Set("tokenizer.ggml.bos_token_id", int64_t{-1}), "is -1, which is no token id");
  ExpectError(Set("tokenizer.ggml.eos_token_id", int64_t{1} << 31), "is 2147483648, which is no token id");
}

TEST(GgufConfigTest, NeedsTheEmbedding) {
  ExpectError([](GgufFile* file) { file->store.tensors.clear(); }, "tensor \"token_embd.weight\" is missing");
  ExpectError(
      [](GgufFile* file) {
        file->store.tensors["token_embd.weight"].shape = {512, 161};
      },
      "\"token_embd.weight\" has shape [512, 161], [vocabulary, 160] expected");
  ExpectError([](GgufFile* file) { file->store.tensors["token_embd.weight"].shape = {160}; }, "has shape [160]");
}

}  // namespace
}  // namespace phidias
