// Binding of weights: every naming, dtype and grouping of heads gives the same model, bit by bit what was put in;
// whatever is missing, extra, misshapen or of a wrong type is named. Oracle: the values that the builder was told to
// store, which depend on the `phi` kind's names only.

#include "model/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>

#include "model/tensor_naming.h"
#include "tests/support/checkpoint_builder.h"

namespace phidias {
namespace {

using testing::HasSubstr;
using testing_support::BuildTensors;
using testing_support::BuiltTensor;
using testing_support::BuiltTensors;
using testing_support::CheckpointOptions;
using testing_support::DecodeValue;
using testing_support::EncodeValues;
using testing_support::MakeStore;
using testing_support::RandomValues;
using testing_support::SmallConfig;

constexpr TensorNaming kNamings[] = {TensorNaming::kPhi, TensorNaming::kPhiMsft, TensorNaming::kMixformerSequential,
                                     TensorNaming::kGguf};

PhiConfig ConfigOf(TensorNaming naming, int64_t n_kv_heads = 4) {
  PhiConfig config = SmallConfig();
  config.naming = naming;
  config.n_kv_heads = n_kv_heads;
  return config;
}

// What the builder stores for a `phi` name, after rounding to the stored type.
std::vector<float> Expected(const std::string& name, int64_t count, DType dtype, float mean, float scale) {
  std::vector<float> values = RandomValues(1, name, count);
  for (float& value : values) {
    value = mean + scale * value;
  }
  const std::vector<std::byte> bytes = EncodeValues(values, dtype);
  for (int64_t i = 0; i < count; ++i) {
    values[static_cast<size_t>(i)] = DecodeValue(dtype, bytes.data(), i);
  }
  return values;
}

void ExpectMatrix(const WeightMatrix& matrix, const std::string& name, int64_t rows, int64_t cols, DType dtype) {
  ASSERT_EQ(matrix.rows, rows) << name;
  ASSERT_EQ(matrix.cols, cols) << name;
  ASSERT_EQ(matrix.dtype, dtype) << name;
  const std::vector<float> expected =
      Expected(name, rows * cols, dtype, 0.0F, std::sqrt(3.0F / static_cast<float>(cols)));
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t col = 0; col < cols; ++col) {
      ASSERT_EQ(DecodeValue(dtype, matrix.Row(row), col), expected[static_cast<size_t>(row * cols + col)])
          << name << " at " << row << ", " << col;
    }
  }
}

void ExpectLinear(const LinearWeights& linear, const std::string& name, int64_t rows, int64_t cols,
                  const CheckpointOptions& options) {
  EXPECT_EQ(linear.name, name);
  ExpectMatrix(linear.weight, name + ".weight", rows, cols, options.dtype);
  EXPECT_EQ(linear.bias, Expected(name + ".bias", rows, options.vector_dtype, 0.0F, 0.1F)) << name;
}

void ExpectLayerNorm(const LayerNormWeights& norm, const std::string& name, int64_t size,
                     const CheckpointOptions& options) {
  EXPECT_EQ(norm.name, name);
  EXPECT_EQ(norm.weight, Expected(name + ".weight", size, options.vector_dtype, 1.0F, 0.2F));
  EXPECT_EQ(norm.bias, Expected(name + ".bias", size, options.vector_dtype, 0.0F, 0.1F));
}

void ExpectWeights(const PhiWeights& weights, const PhiConfig& config, const CheckpointOptions& options) {
  const int64_t hidden = config.hidden_size;
  ExpectMatrix(weights.embed_tokens, "model.embed_tokens.weight", config.vocab_size, hidden, options.dtype);
  ASSERT_EQ(weights.layers.size(), static_cast<size_t>(config.n_layers));
  for (size_t i = 0; i < weights.layers.size(); ++i) {
    const PhiLayerWeights& layer = weights.layers[i];
    const std::string prefix = "model.layers." + std::to_string(i) + ".";
    ExpectLayerNorm(layer.input_layernorm, prefix + "input_layernorm", hidden, options);
    ExpectLinear(layer.q_proj, prefix + "self_attn.q_proj", hidden, hidden, options);
    ExpectLinear(layer.k_proj, prefix + "self_attn.k_proj", config.kv_size(), hidden, options);
    ExpectLinear(layer.v_proj, prefix + "self_attn.v_proj", config.kv_size(), hidden, options);
    ExpectLinear(layer.dense, prefix + "self_attn.dense", hidden, hidden, options);
    ExpectLinear(layer.fc1, prefix + "mlp.fc1", config.intermediate_size, hidden, options);
    ExpectLinear(layer.fc2, prefix + "mlp.fc2", hidden, config.intermediate_size, options);
  }
  ExpectLayerNorm(weights.final_layernorm, "model.final_layernorm", hidden, options);
  ExpectLinear(weights.lm_head, "lm_head", config.vocab_size, hidden, options);
}

TEST(BindPhiWeights, EveryNamingAndGroupingGivesTheSameModel) {
  for (const TensorNaming naming : kNamings) {
    for (const int64_t n_kv_heads : {4, 2, 1}) {
      SCOPED_TRACE(testing::Message() << NamingName(naming) << ", " << n_kv_heads << " KV heads");
      const PhiConfig config = ConfigOf(naming, n_kv_heads);
      const CheckpointOptions options = {.naming = naming};
      const TensorStore store = MakeStore(BuildTensors(config, options));
      const Result<PhiWeights> weights = BindPhiWeights(config, store, "dir");
      ASSERT_TRUE(weights.ok()) << weights.status().message();
      ExpectWeights(weights.value(), config, options);
    }
  }
}

TEST(BindPhiWeights, GgufWithSeparateQkv) {
  const PhiConfig config = ConfigOf(TensorNaming::kGguf, 2);
  const CheckpointOptions options = {.naming = TensorNaming::kGguf, .gguf_fused_qkv = false};
  const TensorStore store = MakeStore(BuildTensors(config, options));
  ASSERT_EQ(store.tensors.count("blk.1.attn_v.bias"), 1U);
  const Result<PhiWeights> weights = BindPhiWeights(config, store, "m.gguf");
  ASSERT_TRUE(weights.ok()) << weights.status().message();
  ExpectWeights(weights.value(), config, options);
}

TEST(BindPhiWeights, EveryDtype) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kQ8_0}) {
    SCOPED_TRACE(DTypeName(dtype));
    const TensorNaming naming = dtype == DType::kQ8_0 ? TensorNaming::kGguf : TensorNaming::kPhiMsft;
    const PhiConfig config = ConfigOf(naming);
    const CheckpointOptions options = {
        .naming = naming, .dtype = dtype, .vector_dtype = dtype == DType::kQ8_0 ? DType::kF16 : dtype};
    const TensorStore store = MakeStore(BuildTensors(config, options));
    const Result<PhiWeights> weights = BindPhiWeights(config, store, "dir");
    ASSERT_TRUE(weights.ok()) << weights.status().message();
    ExpectWeights(weights.value(), config, options);
  }
}

TEST(BindPhiWeights, MatricesAreViewsAtAnyAddress) {
  const PhiConfig config = ConfigOf(TensorNaming::kPhiMsft);
  BuiltTensors tensors = BuildTensors(config, {.naming = TensorNaming::kPhiMsft, .dtype = DType::kF16});
  TensorStore store = MakeStore(tensors);
  // Every tensor moved to an odd address.
  for (auto& [name, tensor] : store.tensors) {
    auto moved = std::make_shared<std::vector<std::byte>>(tensor.bytes + 1);
    std::memcpy(moved->data() + 1, tensor.data, tensor.bytes);
    tensor.data = moved->data() + 1;
    store.owned.push_back(moved);
  }
  const Result<PhiWeights> weights = BindPhiWeights(config, store, "dir");
  ASSERT_TRUE(weights.ok()) << weights.status().message();
  ExpectWeights(weights.value(), config, {.naming = TensorNaming::kPhiMsft, .dtype = DType::kF16});
  const StoredTensor& qkv = store.tensors.at("transformer.h.0.mixer.Wqkv.weight");
  EXPECT_EQ(weights.value().layers[0].q_proj.weight.data, qkv.data);
  EXPECT_EQ(weights.value().layers[0].k_proj.weight.data, qkv.data + 64 * 64 * 2);
  EXPECT_EQ(weights.value().layers[0].v_proj.weight.data, qkv.data + 2 * 64 * 64 * 2);
}

TEST(BindPhiWeights, TiedHead) {
  PhiConfig config = ConfigOf(TensorNaming::kPhi);
  config.tie_word_embeddings = true;
  BuiltTensors tensors = BuildTensors(config);
  ASSERT_EQ(tensors.count("lm_head.weight"), 0U);
  const TensorStore store = MakeStore(tensors);
  const Result<PhiWeights> weights = BindPhiWeights(config, store, "dir");
  ASSERT_TRUE(weights.ok()) << weights.status().message();
  EXPECT_EQ(weights.value().lm_head.weight.data, store.tensors.at("model.embed_tokens.weight").data);
  EXPECT_EQ(weights.value().lm_head.bias.size(), 96U);
  // As in Hugging Face's code the embedding serves even if there is another matrix.
  PhiConfig untied = config;
  untied.tie_word_embeddings = false;
  const TensorStore both = MakeStore(BuildTensors(untied));
  EXPECT_EQ(BindPhiWeights(config, both, "dir").value().lm_head.weight.data,
            both.tensors.at("model.embed_tokens.weight").data);
  // In GGUF the stored matrix is the head.
  untied.naming = config.naming = TensorNaming::kGguf;
  const TensorStore gguf = MakeStore(BuildTensors(untied, {.naming = TensorNaming::kGguf}));
  EXPECT_EQ(BindPhiWeights(config, gguf, "dir").value().lm_head.weight.data, gguf.tensors.at("output.weight").data);
}

TEST(BindPhiWeights, RotaryTablesOfOlderCodeAreIgnored) {
  const BuiltTensor table = {DType::kF32, {4}, std::vector<std::byte>(16)};
  const PhiConfig config = ConfigOf(TensorNaming::kMixformerSequential);
  BuiltTensors tensors = BuildTensors(config, {.naming = TensorNaming::kMixformerSequential});
  for (const char* name : {"layers.1.mixer.rotary_emb.inv_freq", "layers.2.mixer.rotary_emb.scale",
                           "model.layers.0.self_attn.rotary_emb.inv_freq", "model.rotary_emb.inv_freq"}) {
    tensors[name] = table;
  }
  const Result<PhiWeights> weights = BindPhiWeights(config, MakeStore(tensors), "dir");
  EXPECT_TRUE(weights.ok()) << weights.status().message();
}

// The error's message after `change` was made to a good checkpoint's tensors.
template <class Change>
std::string MessageAfter(TensorNaming naming, const Change& change) {
  const PhiConfig config = ConfigOf(naming);
  BuiltTensors tensors = BuildTensors(config, {.naming = naming});
  change(&tensors);
  return BindPhiWeights(config, MakeStore(tensors, "dir/model.safetensors"), "dir").status().message();
}

void Rename(BuiltTensors* tensors, const std::string& from, const std::string& to) {
  (*tensors)[to] = tensors->at(from);
  tensors->erase(from);
}

TEST(BindPhiWeights, MissingTensors) {
  EXPECT_EQ(MessageAfter(TensorNaming::kPhi, [](BuiltTensors* t) { t->erase("model.layers.1.mlp.fc2.bias"); }),
            "dir: tensor \"model.layers.1.mlp.fc2.bias\" of shape [64] (hidden_size 64) is missing; found 32 "
            "tensors, among them \"lm_head.bias\", \"lm_head.weight\", \"model.embed_tokens.weight\"");
  EXPECT_EQ(MessageAfter(TensorNaming::kPhiMsft, [](BuiltTensors* t) { t->erase("lm_head.linear.weight"); }),
            "dir: tensor \"lm_head.linear.weight\" of shape [96, 64] (vocab_size 96, n_embd 64) is missing; found "
            "24 tensors, among them \"lm_head.linear.bias\", \"lm_head.ln.bias\", \"lm_head.ln.weight\"");
  EXPECT_THAT(MessageAfter(TensorNaming::kGguf, [](BuiltTensors* t) { t->erase("blk.0.attn_qkv.weight"); }),
              HasSubstr("tensor \"blk.0.attn_q.weight\" of shape [64, 64] (phi2.embedding_length 64, "
                        "phi2.embedding_length 64) is missing"));
}

TEST(BindPhiWeights, MissingTensorsWithASimilarOne) {
  EXPECT_THAT(MessageAfter(TensorNaming::kPhi,
                           [](BuiltTensors* t) {
                             Rename(t, "model.layers.0.mlp.fc1.weight", "model.layers.0.mlp.fc_1.weight");
                           }),
              HasSubstr("tensor \"model.layers.0.mlp.fc1.weight\" of shape [128, 64] (intermediate_size 128, "
                        "hidden_size 64) is missing; is it \"model.layers.0.mlp.fc_1.weight\"?"));
  EXPECT_THAT(
      MessageAfter(TensorNaming::kPhi, [](BuiltTensors* t) { Rename(t, "lm_head.weight", "module.lm_head.weight"); }),
      HasSubstr("is missing; is it \"module.lm_head.weight\"?"));
  // Transformers 4.36 had q, k and v in one tensor.
  EXPECT_THAT(MessageAfter(TensorNaming::kPhi,
                           [](BuiltTensors* t) {
                             Rename(t, "model.layers.0.self_attn.q_proj.weight",
                                    "model.layers.0.self_attn.query_key_value.weight");
                           }),
              HasSubstr("is it \"model.layers.0.self_attn.query_key_value.weight\"?"));
}

TEST(BindPhiWeights, ExtraTensors) {
  const BuiltTensor extra = {DType::kF32, {1}, std::vector<std::byte>(4)};
  EXPECT_EQ(MessageAfter(TensorNaming::kPhi, [&](BuiltTensors* t) { (*t)["model.layers.0.self_attn.q_norm"] = extra; }),
            "dir: 1 tensor doesn't belong to a phi model of 2 layers: \"model.layers.0.self_attn.q_norm\"");
  EXPECT_EQ(MessageAfter(TensorNaming::kMixformerSequential,
                         [&](BuiltTensors* t) {
                           for (const char* name : {"a", "b\n", "c", "d"}) {
                             (*t)[name] = extra;
                           }
                         }),
            "dir: 4 tensors don't belong to a mixformer-sequential model of 2 layers: \"a\", \"b\\x0a\", \"c\", ...");
  // GGUF's fused and separate tensors at once.
  EXPECT_THAT(MessageAfter(TensorNaming::kGguf, [&](BuiltTensors* t) { (*t)["blk.0.attn_q.weight"] = extra; }),
              HasSubstr("doesn't belong to a GGUF model of 2 layers: \"blk.0.attn_q.weight\""));
  EXPECT_THAT(MessageAfter(TensorNaming::kGguf, [&](BuiltTensors* t) { (*t)["rope_freqs.weight"] = extra; }),
              HasSubstr("tensor \"rope_freqs.weight\" (scaled rotary embeddings) isn't run here"));
}

TEST(BindPhiWeights, MisshapenTensors) {
  const auto reshape = [](const char* name, const std::vector<int64_t>& shape) {
    return [=](BuiltTensors* t) { t->at(name).shape = shape; };
  };
  EXPECT_EQ(MessageAfter(TensorNaming::kPhi, reshape("model.layers.0.mlp.fc1.weight", {64, 128})),
            "dir/model.safetensors: tensor \"model.layers.0.mlp.fc1.weight\" has shape [64, 128]; expected [128, 64] "
            "(intermediate_size 128, hidden_size 64)");
  EXPECT_EQ(MessageAfter(TensorNaming::kPhi, reshape("lm_head.bias", {1, 96})),
            "dir/model.safetensors: tensor \"lm_head.bias\" has shape [1, 96]; expected [96] (vocab_size 96)");
  EXPECT_EQ(MessageAfter(TensorNaming::kPhi, reshape("model.layers.1.self_attn.k_proj.weight", {32, 128})),
            "dir/model.safetensors: tensor \"model.layers.1.self_attn.k_proj.weight\" has shape [32, 128]; expected "
            "[64, 64] (num_key_value_heads 4 x head dimension 16, hidden_size 64)");
  EXPECT_EQ(MessageAfter(TensorNaming::kPhiMsft, reshape("transformer.h.1.mixer.Wqkv.weight", {192, 65})),
            "dir/model.safetensors: tensor \"transformer.h.1.mixer.Wqkv.weight\" has shape [192, 65]; expected "
            "[192, 64] ((n_head 4 + 2 x n_head_kv 4) x head dimension 16, n_embd 64)");
  EXPECT_THAT(MessageAfter(TensorNaming::kPhi, reshape("lm_head.weight", {})), HasSubstr("has shape []; expected"));
}

TEST(BindPhiWeights, WrongTypes) {
  const auto retype = [](const char* name, DType dtype) { return [=](BuiltTensors* t) { t->at(name).dtype = dtype; }; };
  EXPECT_EQ(MessageAfter(TensorNaming::kPhi, retype("lm_head.weight", DType::kI8)),
            "dir/model.safetensors: tensor \"lm_head.weight\" has dtype I8; weights are F32, F16 or BF16");
  EXPECT_THAT(MessageAfter(TensorNaming::kPhi, retype("lm_head.weight", DType::kQ8_0)), HasSubstr("has dtype Q8_0"));
  EXPECT_THAT(MessageAfter(TensorNaming::kGguf, retype("output.weight", DType::kF64)),
              HasSubstr("has dtype F64; weights are F32, F16 or BF16, or Q8_0"));
  EXPECT_THAT(MessageAfter(TensorNaming::kPhi, retype("lm_head.bias", DType::kF64)),
              HasSubstr("tensor \"lm_head.bias\" has dtype F64; norms and biases are F32, F16 or BF16"));
  EXPECT_THAT(MessageAfter(TensorNaming::kGguf, retype("output.bias", DType::kQ8_0)),
              HasSubstr("has dtype Q8_0; norms and biases are"));
  // A reader that lied about the size must not let a view run over the end.
  EXPECT_THAT(MessageAfter(TensorNaming::kPhi, [](BuiltTensors* t) { t->at("lm_head.weight").bytes.resize(100); }),
              HasSubstr("has 100 bytes; expected 24576"));
  EXPECT_THAT(MessageAfter(TensorNaming::kPhi, [](BuiltTensors* t) { t->at("lm_head.bias").bytes.resize(100); }),
              HasSubstr("has 100 bytes; expected 384"));
}

TEST(BindPhiWeights, Q8RowsOfWholeBlocks) {
  PhiConfig config = ConfigOf(TensorNaming::kGguf);
  config.hidden_size = 48;
  config.head_dim = 12;
  config.n_kv_heads = 4;
  const TensorStore store = MakeStore(BuildTensors(config, {.naming = TensorNaming::kGguf, .dtype = DType::kQ8_0}));
  EXPECT_THAT(BindPhiWeights(config, store, "m").status().message(),
              HasSubstr("is Q8_0 with rows of 48 elements; expected a multiple of 32"));
}

TEST(BindPhiWeights, NonFiniteNormsAndBiases) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    for (const char* name : {"model.layers.1.input_layernorm.weight", "model.final_layernorm.bias",
                             "model.layers.0.mlp.fc1.bias", "lm_head.bias"}) {
      const std::string message = MessageAfter(
          TensorNaming::kPhi, [&](BuiltTensors* t) { std::memcpy(t->at(name).bytes.data() + 12, &bad, sizeof bad); });
      EXPECT_THAT(message, HasSubstr(StrCat("tensor \"", name, "\" holds ", bad, " at index 3; expected finite")));
    }
  }
}

TEST(BindPhiWeights, InvalidConfiguration) {
  PhiConfig config = ConfigOf(TensorNaming::kPhi);
  config.n_heads = 0;
  EXPECT_EQ(BindPhiWeights(config, TensorStore(), "dir").status().message(),
            "dir: num_attention_heads is 0; expected 1 to 4096");
}

TEST(AdaptConfigToTensors, TensorsDecideTheNaming) {
  for (const TensorNaming stored : kNamings) {
    for (const TensorNaming said : kNamings) {
      PhiConfig config = ConfigOf(said);
      const TensorStore store = MakeStore(BuildTensors(config, {.naming = stored}));
      ASSERT_TRUE(AdaptConfigToTensors(store, "dir", &config).ok());
      EXPECT_EQ(config.naming, stored);
      EXPECT_TRUE(BindPhiWeights(config, store, "dir").ok());
    }
  }
}

TEST(AdaptConfigToTensors, NamesThatBelongToNoPhiModel) {
  BuiltTensors tensors;
  for (const char* name : {"h.0.attn.c_attn.weight", "h.0.attn.c_proj.weight", "wpe.weight", "wte.weight"}) {
    tensors[name] = {DType::kF32, {1}, std::vector<std::byte>(4)};
  }
  PhiConfig config = ConfigOf(TensorNaming::kPhi);
  EXPECT_EQ(AdaptConfigToTensors(MakeStore(tensors), "dir", &config).message(),
            "dir: no tensor is named as in a Phi model; expected \"model.layers.0...\" (phi), \"transformer.h.0...\" "
            "(phi-msft), \"layers.1.mixer...\" (mixformer-sequential) or \"blk.0...\" (GGUF), found 4 tensors, among "
            "them \"h.0.attn.c_attn.weight\", \"h.0.attn.c_proj.weight\", \"wpe.weight\"");
  EXPECT_THAT(AdaptConfigToTensors(TensorStore(), "dir", &config).message(), HasSubstr("found no tensors"));
}

TEST(AdaptConfigToTensors, PaddedVocabularyOfTheOlderKinds) {
  PhiConfig stored = ConfigOf(TensorNaming::kPhiMsft);
  stored.vocab_size = 128;
  const TensorStore store = MakeStore(BuildTensors(stored, {.naming = TensorNaming::kPhiMsft}));
  PhiConfig config = stored;
  config.vocab_size = 100;
  config.vocab_multiple = 64;
  ASSERT_TRUE(AdaptConfigToTensors(store, "dir", &config).ok());
  EXPECT_EQ(config.vocab_size, 128);
  EXPECT_EQ(config.vocab_multiple, 1);
  EXPECT_TRUE(BindPhiWeights(config, store, "dir").ok());

  // Not padded in the file either: what config.json says stands.
  config.vocab_size = 128;
  config.vocab_multiple = 48;
  ASSERT_TRUE(AdaptConfigToTensors(store, "dir", &config).ok());
  EXPECT_EQ(config.vocab_size, 128);

  // Neither number.
  config.vocab_size = 60;
  config.vocab_multiple = 64;
  ASSERT_TRUE(AdaptConfigToTensors(store, "dir", &config).ok());
  EXPECT_THAT(BindPhiWeights(config, store, "dir").status().message(),
              HasSubstr("has shape [128, 64]; expected [60, 64] (vocab_size 60, n_embd 64)"));
}

}  // namespace
}  // namespace phidias
