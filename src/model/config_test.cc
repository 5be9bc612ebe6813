// Reading of config.json: the published kinds give the right numbers, and whatever is wrong or isn't run here gets a
// message that names file, field and value. Oracle: the configuration classes of Hugging Face transformers and of the
// older kinds, restated here as numbers.

#include "model/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "common/file.h"

namespace phidias {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

json Phi2() {
  return json::parse(R"({
    "architectures": ["PhiForCausalLM"], "model_type": "phi", "vocab_size": 51200, "hidden_size": 2560,
    "intermediate_size": 10240, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32,
    "hidden_act": "gelu_new", "layer_norm_eps": 1e-05, "max_position_embeddings": 2048,
    "partial_rotary_factor": 0.4, "rope_theta": 10000.0, "rope_scaling": null, "qk_layernorm": false,
    "tie_word_embeddings": false, "bos_token_id": 50256, "eos_token_id": 50256, "torch_dtype": "float16",
    "attention_bias": true, "resid_pdrop": 0.1})");
}

// phi-1.5 as first published.
json Mixformer() {
  return json::parse(R"({
    "activation_function": "gelu_new", "architecture": {"block_cls": "parallel", "mixer": {}, "mlp": {"mlp_cls": "mlp"}},
    "architectures": ["MixFormerSequentialForCausalLM"], "embd_layer": "default", "layer_norm_epsilon": 1e-05,
    "model_type": "mixformer-sequential", "n_embd": 2048, "n_head": 32, "n_inner": null, "n_layer": 24,
    "n_positions": 2048, "phyagi_version": "0.0.4.dev", "rotary_dim": 32, "tie_word_embeddings": false,
    "torch_dtype": "float16", "vocab_size": 51200})");
}

json PhiMsft() {
  json config = Mixformer();
  config["model_type"] = "phi-msft";
  config["architectures"] = {"PhiForCausalLM"};
  config.erase("architecture");
  config["n_head_kv"] = nullptr;
  return config;
}

Result<PhiConfig> Parse(const json& config, const std::string& generation = "") {
  return ParsePhiConfig(config.dump(), "dir/config.json", generation, "dir/generation_config.json");
}

// The error's message, or the empty string.
std::string Message(const json& config, const std::string& generation = "") {
  return Parse(config, generation).status().message();
}

std::string MessageOfText(const std::string& text) {
  return ParsePhiConfig(text, "dir/config.json", "", "").status().message();
}

json With(json config, const char* field, const json& value) {
  config[field] = value;
  return config;
}

json Without(json config, const char* field) {
  config.erase(field);
  return config;
}

TEST(ParsePhiConfig, ReadsPhi2) {
  const Result<PhiConfig> config = Parse(Phi2());
  ASSERT_TRUE(config.ok()) << config.status().message();
  const PhiConfig& c = config.value();
  EXPECT_EQ(c.naming, TensorNaming::kPhi);
  EXPECT_EQ(c.vocab_size, 51200);
  EXPECT_EQ(c.vocab_multiple, 1);
  EXPECT_EQ(c.hidden_size, 2560);
  EXPECT_EQ(c.intermediate_size, 10240);
  EXPECT_EQ(c.n_layers, 32);
  EXPECT_EQ(c.n_heads, 32);
  EXPECT_EQ(c.n_kv_heads, 32);
  EXPECT_EQ(c.head_dim, 80);
  EXPECT_EQ(c.rotary_dim, 32);
  EXPECT_EQ(c.max_position_embeddings, 2048);
  EXPECT_EQ(c.layer_norm_eps, 1e-5F);
  EXPECT_EQ(c.rope_theta, 10000.0);
  EXPECT_FALSE(c.tie_word_embeddings);
  EXPECT_EQ(c.bos_token_id, 50256);
  EXPECT_THAT(c.eos_token_ids, ElementsAre(50256));
  EXPECT_EQ(c.torch_dtype, "float16");
}

TEST(ParsePhiConfig, ReadsMixformer) {
  const Result<PhiConfig> config = Parse(Mixformer());
  ASSERT_TRUE(config.ok()) << config.status().message();
  const PhiConfig& c = config.value();
  EXPECT_EQ(c.naming, TensorNaming::kMixformerSequential);
  EXPECT_EQ(c.hidden_size, 2048);
  EXPECT_EQ(c.intermediate_size, 8192);
  EXPECT_EQ(c.n_layers, 24);
  EXPECT_EQ(c.n_heads, 32);
  EXPECT_EQ(c.n_kv_heads, 32);
  EXPECT_EQ(c.head_dim, 64);
  EXPECT_EQ(c.rotary_dim, 32);
  EXPECT_EQ(c.max_position_embeddings, 2048);
  EXPECT_EQ(c.layer_norm_eps, 1e-5F);
  EXPECT_EQ(c.vocab_multiple, 64);
  EXPECT_FALSE(c.bos_token_id.has_value());
  EXPECT_THAT(c.eos_token_ids, IsEmpty());
}

TEST(ParsePhiConfig, ReadsTheGoldensAndTheDemoModel) {
  const std::string root = PHIDIAS_SOURCE_DIR;
  for (const char* dir :
       {"/tests/golden/tiny-phi2", "/tests/golden/tiny-phi2-bin", "/tests/golden/tiny-phi2-msft", "/models/demo"}) {
    const std::string path = root + dir + "/config.json";
    const Result<std::string> text = ReadFile(path, 1 << 20);
    ASSERT_TRUE(text.ok()) << text.status().message();
    const Result<PhiConfig> config = ParsePhiConfig(text.value(), path, "", "");
    ASSERT_TRUE(config.ok()) << config.status().message();
    EXPECT_EQ(config.value().head_dim, 80) << path;
    EXPECT_EQ(config.value().rotary_dim, 32) << path;
    EXPECT_EQ(config.value().intermediate_size, 4 * config.value().hidden_size) << path;
  }
}

TEST(ParsePhiConfig, DefaultsOfAbsentFields) {
  json config = Phi2();
  for (const char* field :
       {"num_key_value_heads", "layer_norm_eps", "partial_rotary_factor", "rope_theta", "rope_scaling", "qk_layernorm",
        "tie_word_embeddings", "hidden_act", "bos_token_id", "eos_token_id", "torch_dtype"}) {
    config.erase(field);
  }
  const Result<PhiConfig> parsed = Parse(config);
  ASSERT_TRUE(parsed.ok()) << parsed.status().message();
  EXPECT_EQ(parsed.value().n_kv_heads, 32);
  EXPECT_EQ(parsed.value().rotary_dim, 40);
  EXPECT_EQ(parsed.value().layer_norm_eps, 1e-5F);
  EXPECT_EQ(parsed.value().rope_theta, 10000.0);
  EXPECT_EQ(parsed.value().torch_dtype, "");
}

TEST(ParsePhiConfig, NewerFilesKeepRopeInRopeParameters) {
  json config = Without(Without(Phi2(), "rope_theta"), "partial_rotary_factor");
  config["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", 50000.0}, {"partial_rotary_factor", 0.25}};
  config = With(Without(config, "torch_dtype"), "dtype", "bfloat16");
  const Result<PhiConfig> parsed = Parse(config);
  ASSERT_TRUE(parsed.ok()) << parsed.status().message();
  EXPECT_EQ(parsed.value().rope_theta, 50000.0);
  EXPECT_EQ(parsed.value().rotary_dim, 20);
  EXPECT_EQ(parsed.value().torch_dtype, "bfloat16");
}

TEST(ParsePhiConfig, RopeScalingOfTypeDefaultIsNone) {
  EXPECT_EQ(Message(With(Phi2(), "rope_scaling", {{"type", "default"}})), "");
  EXPECT_EQ(Message(With(Phi2(), "rope_scaling", json::object())), "");
}

TEST(ParsePhiConfig, GroupedQueries) {
  const Result<PhiConfig> config = Parse(With(Phi2(), "num_key_value_heads", 8));
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ(config.value().n_kv_heads, 8);
  EXPECT_EQ(config.value().kv_size(), 640);
  const Result<PhiConfig> old = Parse(With(PhiMsft(), "n_head_kv", 4));
  ASSERT_TRUE(old.ok()) << old.status().message();
  EXPECT_EQ(old.value().n_kv_heads, 4);
}

TEST(ParsePhiConfig, OldRotaryDimIsAtMostTheHead) {
  EXPECT_EQ(Parse(With(PhiMsft(), "rotary_dim", 128)).value().rotary_dim, 64);
  EXPECT_EQ(Parse(Without(PhiMsft(), "rotary_dim")).value().rotary_dim, 32);
  EXPECT_EQ(Parse(With(PhiMsft(), "n_inner", 4096)).value().intermediate_size, 4096);
}

TEST(ParsePhiConfig, ActivationAlias) {
  EXPECT_EQ(Message(With(Phi2(), "hidden_act", "gelu_pytorch_tanh")), "");
  EXPECT_EQ(Message(With(Mixformer(), "activation_function", "gelu_pytorch_tanh")), "");
}

TEST(ParsePhiConfig, EosForms) {
  EXPECT_THAT(Parse(With(Phi2(), "eos_token_id", nullptr)).value().eos_token_ids, IsEmpty());
  EXPECT_THAT(Parse(With(Phi2(), "eos_token_id", {50256, 50295, 50256})).value().eos_token_ids,
              ElementsAre(50256, 50295));
}

TEST(ParsePhiConfig, GenerationConfigWins) {
  const PhiConfig list = Parse(Phi2(), R"({"bos_token_id": 3, "eos_token_id": [1, 2]})").value();
  EXPECT_EQ(list.bos_token_id, 3);
  EXPECT_THAT(list.eos_token_ids, ElementsAre(1, 2));
  // What it doesn't say, config.json says.
  EXPECT_THAT(Parse(Phi2(), R"({"eos_token_id": null})").value().eos_token_ids, ElementsAre(50256));
  EXPECT_EQ(Message(Phi2(), R"({"eos_token_id": 51200})"),
            "dir/generation_config.json: eos_token_id is 51200; expected 0 to 51199 (the vocabulary has 51200 rows)");
  EXPECT_THAT(Message(Phi2(), "{"), HasSubstr("dir/generation_config.json: is not valid JSON at line 1, column 2"));
}

TEST(ParsePhiConfig, DetectionWithoutModelType) {
  EXPECT_EQ(Parse(Without(Phi2(), "model_type")).value().naming, TensorNaming::kPhi);
  EXPECT_EQ(Parse(Without(Without(Phi2(), "model_type"), "architectures")).value().naming, TensorNaming::kPhi);
  EXPECT_EQ(Parse(Without(Mixformer(), "model_type")).value().naming, TensorNaming::kMixformerSequential);
  EXPECT_EQ(Parse(Without(PhiMsft(), "model_type")).value().naming, TensorNaming::kPhiMsft);
  EXPECT_EQ(Parse(Without(Without(PhiMsft(), "model_type"), "architectures")).value().naming, TensorNaming::kPhiMsft);
  EXPECT_EQ(MessageOfText("{}"),
            "dir/config.json: neither model_type nor architectures nor the fields say that this is a Phi model; "
            "model_type phi, phi-msft or mixformer-sequential is expected");
}

TEST(ParsePhiConfig, FieldNamesOfTheOtherKind) {
  EXPECT_EQ(Parse(With(PhiMsft(), "model_type", "phi")).value().naming, TensorNaming::kPhiMsft);
  EXPECT_EQ(Parse(With(Phi2(), "model_type", "phi-msft")).value().naming, TensorNaming::kPhi);
}

TEST(ParsePhiConfig, OtherModelsAreNamed) {
  EXPECT_EQ(Message(With(Phi2(), "model_type", "phi3")),
            "dir/config.json: model_type \"phi3\" isn't run here; phi, phi-msft and mixformer-sequential are");
  EXPECT_THAT(Message(With(Phi2(), "model_type", "llama\n")), HasSubstr("model_type \"llama\\x0a\" isn't run here"));
  EXPECT_THAT(Message(With(Without(Phi2(), "model_type"), "architectures", {"Phi3ForCausalLM"})),
              HasSubstr("architecture \"Phi3ForCausalLM\" isn't run here"));
  EXPECT_THAT(Message(With(Phi2(), "architectures", {"PhiForSequenceClassification"})),
              HasSubstr("architecture \"PhiForSequenceClassification\" isn't run here"));
  EXPECT_EQ(Parse(With(Phi2(), "model_type", "phi3")).status().code(), StatusCode::kUnsupported);
}

struct BadField {
  const char* field;
  json value;
  const char* message;
};

void ExpectMessages(const json& base, const std::vector<BadField>& cases) {
  for (const BadField& bad : cases) {
    const std::string message = Message(With(base, bad.field, bad.value));
    EXPECT_EQ(message, std::string("dir/config.json: ") + bad.message) << bad.field << " " << bad.value;
  }
}

TEST(ParsePhiConfig, WrongTypes) {
  ExpectMessages(Phi2(),
                 {{"model_type", 3, "model_type is 3; expected a string"},
                  {"architectures", "PhiForCausalLM", "architectures is \"PhiForCausalLM\"; expected a list of names"},
                  {"architectures", {1}, "architectures is [1]; expected a list of names"},
                  {"hidden_size", "2560", "hidden_size is \"2560\"; expected a whole number"},
                  {"hidden_size", 2560.5, "hidden_size is 2560.5; expected a whole number"},
                  {"hidden_size", true, "hidden_size is true; expected a whole number"},
                  {"hidden_size", nullptr, "field hidden_size is missing"},
                  {"num_key_value_heads", "8", "num_key_value_heads is \"8\"; expected a whole number"},
                  {"hidden_act", 1, "hidden_act is 1; expected a string"},
                  {"layer_norm_eps", "tiny", "layer_norm_eps is \"tiny\"; expected a number"},
                  {"rope_theta", {1, 2}, "rope_theta is [1,2]; expected a number"},
                  {"rope_scaling", "linear", "rope_scaling is \"linear\"; expected an object or null"},
                  {"rope_parameters", {{"rope_theta", "x"}}, "rope_parameters.rope_theta is \"x\"; expected a number"},
                  {"qk_layernorm", "no", "qk_layernorm is \"no\"; expected true or false"},
                  {"tie_word_embeddings", 1, "tie_word_embeddings is 1; expected true or false"},
                  {"torch_dtype", {"float16"}, "torch_dtype is [\"float16\"]; expected a string"},
                  {"eos_token_id", "50256", "eos_token_id is \"50256\"; expected a token id, a list of them, or null"},
                  {"bos_token_id", 1.5, "bos_token_id is 1.5; expected a token id, a list of them, or null"}});
}

TEST(ParsePhiConfig, NumbersOutOfRange) {
  ExpectMessages(
      Phi2(),
      {{"vocab_size", 0, "vocab_size is 0; expected 1 to 16777216"},
       {"vocab_size", (1 << 24) + 1, "vocab_size is 16777217; expected 1 to 16777216"},
       {"hidden_size", -2560, "hidden_size is -2560; expected 1 to 131072"},
       {"hidden_size", uint64_t{18446744073709551615U}, "hidden_size is 18446744073709551615; expected 1 to 131072"},
       {"hidden_size", 131104, "hidden_size is 131104; expected 1 to 131072"},
       {"intermediate_size", 0, "intermediate_size is 0; expected 1 to 1048576"},
       {"num_hidden_layers", 1025, "num_hidden_layers is 1025; expected 1 to 1024"},
       {"num_attention_heads", 4097, "num_attention_heads is 4097; expected 1 to 4096"},
       {"num_key_value_heads", 0, "num_key_value_heads is 0; expected 1 to 4096"},
       {"max_position_embeddings", 1 << 21, "max_position_embeddings is 2097152; expected 1 to 1048576"},
       {"layer_norm_eps", 0, "layer_norm_eps is 0; expected more than 0 and at most 1"},
       {"layer_norm_eps", -1e-5, "layer_norm_eps is -1e-05; expected more than 0 and at most 1"},
       {"layer_norm_eps", 1e300, "layer_norm_eps is 1e+300; expected more than 0 and at most 1"},
       {"layer_norm_eps", 1e-60, "layer_norm_eps is 0 as float32; expected more than 0 and at most 1"},
       {"rope_theta", 0.0, "rope_theta is 0; expected 1 to 1e+15"},
       {"rope_theta", -10000, "rope_theta is -10000; expected 1 to 1e+15"},
       {"partial_rotary_factor", 0, "partial_rotary_factor is 0; expected more than 0 and at most 1"},
       {"partial_rotary_factor", 1.5, "partial_rotary_factor is 1.5; expected more than 0 and at most 1"},
       {"eos_token_id", 51200, "eos_token_id is 51200; expected 0 to 51199 (the vocabulary has 51200 rows)"},
       {"eos_token_id", {0, -1}, "eos_token_id is -1; expected 0 to 51199 (the vocabulary has 51200 rows)"},
       {"bos_token_id", -1, "bos_token_id is -1; expected 0 to 51199 (the vocabulary has 51200 rows)"}});
  EXPECT_THAT(Message(With(Phi2(), "eos_token_id", json(std::vector<int>(65, 1)))),
              HasSubstr("eos_token_id lists 65 tokens; at most 64 are possible"));
}

TEST(ParsePhiConfig, NumbersThatDontAgree) {
  ExpectMessages(
      Phi2(),
      {{"hidden_size", 2561, "hidden_size 2561 is not a multiple of num_attention_heads 32"},
       {"num_key_value_heads", 5, "num_attention_heads 32 is not a multiple of num_key_value_heads 5"},
       {"num_key_value_heads", 64, "num_attention_heads 32 is not a multiple of num_key_value_heads 64"},
       {"head_dim", 64, "head_dim 64 differs from hidden_size / num_attention_heads = 80"},
       {"partial_rotary_factor", 0.4126,
        "partial_rotary_factor 0.4126 of head_dim 80 gives a rotary dimension of 33; expected an even number from 2"},
       {"partial_rotary_factor", 0.01,
        "partial_rotary_factor 0.01 of head_dim 80 gives a rotary dimension of 0; expected an even number from 2"},
       {"rope_parameters",
        {{"rope_theta", 5000.0}},
        "rope_parameters.rope_theta 5000 contradicts the value 10000 that the file gives elsewhere"}});
  EXPECT_EQ(Message(With(Phi2(), "head_dim", 80)), "");
}

TEST(ParsePhiConfig, WhatIsNotRun) {
  ExpectMessages(
      Phi2(), {{"hidden_act", "relu",
                "hidden_act \"relu\" isn't run here; \"gelu_new\" (or its alias \"gelu_pytorch_tanh\") is"},
               {"qk_layernorm", true, "qk_layernorm true isn't run here; false is"},
               {"rope_scaling",
                {{"type", "linear"}, {"factor", 2.0}},
                "rope_scaling.type \"linear\" isn't run here; \"default\" is (no scaling of rotary embeddings)"},
               {"rope_scaling",
                {{"factor", 2.0}},
                "rope_scaling with a factor but no type isn't run here (no scaling of rotary embeddings)"},
               {"rope_parameters",
                {{"rope_type", "yarn"}},
                "rope_parameters.rope_type \"yarn\" isn't run here; \"default\" is (no scaling of rotary embeddings)"},
               {"quantization_config",
                {{"quant_method", "gptq"}, {"bits", 4}},
                "quantization_config.quant_method \"gptq\" isn't run here; \"compressed-tensors\" is: use an int8 "
                "or 4-bit checkpoint of that form, or the model's float16, bfloat16 or float32 checkpoint"},
               {"compression_config",
                {{"quant_method", "compressed-tensors"}, {"format", "dense"}},
                "compression_config.format \"dense\" isn't run here; \"int-quantized\", \"naive-quantized\" and "
                "\"pack-quantized\" are: "
                "use an int8 or 4-bit checkpoint of that form, or the model's float16, bfloat16 or float32 checkpoint"},
               {"quantization_config", 4, "quantization_config is 4; expected an object or null"}});
  EXPECT_EQ(Message(With(Phi2(), "quantization_config", nullptr)), "");
  EXPECT_FALSE(Parse(Phi2()).value().quantization.has_value());
}

TEST(ParsePhiConfig, OldFieldsAreNamedAsTheFileNamesThem) {
  ExpectMessages(Mixformer(),
                 {{"n_embd", 2049, "n_embd 2049 is not a multiple of n_head 32"},
                  {"n_layer", "24", "n_layer is \"24\"; expected a whole number"},
                  {"n_inner", -1, "n_inner is -1; expected 1 to 1048576"},
                  {"n_head_kv", 5, "n_head 32 is not a multiple of n_head_kv 5"},
                  {"rotary_dim", 31, "rotary_dim 31 (head_dim is 64) isn't run here; expected an even number from 2"},
                  {"layer_norm_epsilon", 0, "layer_norm_epsilon is 0; expected more than 0 and at most 1"},
                  {"pad_vocab_size_multiple", 0, "pad_vocab_size_multiple is 0; expected 1 to 16777216"},
                  {"activation_function", "relu",
                   "activation_function \"relu\" isn't run here; \"gelu_new\" (or its alias \"gelu_pytorch_tanh\") is"},
                  {"architecture",
                   {{"block_cls", "sequential"}},
                   "architecture.block_cls \"sequential\" isn't run here; \"parallel\" is"}});
  EXPECT_EQ(Message(Without(Mixformer(), "n_head")), "dir/config.json: field n_head is missing");
}

TEST(ParsePhiConfig, WhatIsNoJsonObject) {
  EXPECT_EQ(MessageOfText(""), "dir/config.json: is empty; expected a JSON object");
  EXPECT_EQ(MessageOfText("[1]"), "dir/config.json: is a JSON array; expected an object");
  EXPECT_THAT(MessageOfText("{\n  \"a\": NaN}"), HasSubstr("dir/config.json: is not valid JSON at line 2, column 8"));
  EXPECT_THAT(MessageOfText("{\"a\": 1"), HasSubstr("is not valid JSON at line 1"));
  EXPECT_THAT(MessageOfText("{\"a\": \"\xff\"}"), HasSubstr("is not valid JSON at line 1"));
  EXPECT_EQ(MessageOfText("{\"rope_theta\": 1e999}"), "dir/config.json: holds a number that is out of range");
  EXPECT_EQ(MessageOfText("{\"a\":" + std::string(100000, '[')), "dir/config.json: JSON nests deeper than 32 levels");
  EXPECT_EQ(MessageOfText(std::string((1 << 20) + 1, ' ')),
            "dir/config.json: 1.05 MB of JSON; a configuration has at most 1.05 MB");
}

TEST(ParsePhiConfig, LongAndHostileValuesAreShownShort) {
  const std::string message = Message(With(Phi2(), "hidden_size", std::string(5000, 'x') + "\x1b[31m"));
  EXPECT_LT(message.size(), 200U);
  EXPECT_THAT(Message(With(Phi2(), "hidden_size", "\x1b[31m")), HasSubstr("\"\\u001b[31m\""));
}

TEST(ParsePhiConfig, BracketsInStringsDontNest) {
  EXPECT_EQ(Message(With(Phi2(), "note", "\\\"" + std::string(100, '['))), "");
}

TEST(ParsePhiConfig, LastOfDuplicateKeysWins) {
  std::string text = Phi2().dump();
  text.insert(text.size() - 1, ", \"hidden_size\": 1280");
  EXPECT_EQ(ParsePhiConfig(text, "c", "", "").value().head_dim, 40);
}

TEST(ValidatePhiConfig, NamesTheFieldsOfTheContainer) {
  PhiConfig config = Parse(Phi2()).value();
  config.naming = TensorNaming::kGguf;
  EXPECT_TRUE(ValidatePhiConfig(config, "m.gguf").ok());
  PhiConfig bad = config;
  bad.n_layers = 0;
  EXPECT_EQ(ValidatePhiConfig(bad, "m.gguf").message(), "m.gguf: phi2.block_count is 0; expected 1 to 1024");
  bad = config;
  bad.rotary_dim = 82;
  EXPECT_EQ(ValidatePhiConfig(bad, "m.gguf").message(),
            "m.gguf: phi2.rope.dimension_count gives a rotary dimension of 82; expected an even number from 2 to 80 "
            "(the head's dimension)");
  bad = config;
  bad.rope_theta = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(ValidatePhiConfig(bad, "m.gguf").message(), "m.gguf: phi2.rope.freq_base is nan; expected 1 to 1e+15");
  bad = config;
  bad.layer_norm_eps = std::numeric_limits<float>::infinity();
  EXPECT_THAT(ValidatePhiConfig(bad, "m.gguf").message(), HasSubstr("phi2.attention.layer_norm_epsilon is inf"));
  bad = config;
  bad.head_dim = 64;
  EXPECT_THAT(ValidatePhiConfig(bad, "m.gguf").message(), HasSubstr("heads of 64 dimensions; expected "));
  bad = config;
  bad.eos_token_ids = {51200};
  EXPECT_THAT(ValidatePhiConfig(bad, "m.gguf").message(), HasSubstr("token id 51200; expected 0 to 51199"));
}

}  // namespace
}  // namespace phidias
