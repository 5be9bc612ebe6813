// Reading of quantization_config: what compressed-tensors and llm-compressor write is understood, what isn't run here
// is named with its field, and what is written is read back the same. Oracle: the block in docs/formats.md and fields
// of published checkpoints, restated here.

#include "model/quantization_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace phidias {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

constexpr const char* kPath = "dir/config.json";
constexpr const char* kBlock = R"({"quant_method":"compressed-tensors","format":"int-quantized",
 "quantization_status":"compressed","global_compression_ratio":null,"kv_cache_scheme":null,"ignore":["lm_head"],
 "config_groups":{"group_0":{"targets":["Linear"],
  "weights":{"num_bits":8,"type":"int","symmetric":true,"strategy":"channel","dynamic":false,"observer":"minmax"},
  "input_activations":{"num_bits":8,"type":"int","symmetric":false,"strategy":"tensor","dynamic":false,
                       "observer":"minmax"},
  "output_activations":null}}})";

json Block() {
  return json::parse(kBlock);
}

// The block with the value at a JSON pointer replaced; short pointers reach into group_0.
json With(const std::string& pointer, const json& value) {
  json block = Block();
  const bool inner = pointer.starts_with("/weights") || pointer.starts_with("/input") ||
                     pointer.starts_with("/output") || pointer.starts_with("/targets");
  block[json::json_pointer((inner ? "/config_groups/group_0" : "") + pointer)] = value;
  return block;
}

std::string Message(const json& block) {
  const std::string message = ParseQuantizationConfig(block, kPath).status().message();
  const std::string prefix = "dir/config.json: ";
  EXPECT_TRUE(message.empty() || message.starts_with(prefix)) << message;
  return message.empty() ? message : message.substr(prefix.size());
}

QuantizationConfig Parse(const json& block) {
  Result<QuantizationConfig> config = ParseQuantizationConfig(block, kPath);
  EXPECT_TRUE(config.ok()) << config.status().message();
  return *std::move(config);
}

TEST(ParseQuantizationConfig, TheBlockOfTheFormat) {
  const QuantizationConfig config = Parse(Block());
  EXPECT_EQ(config.format, "int-quantized");
  EXPECT_THAT(config.ignore.patterns(), ElementsAre("lm_head"));
  ASSERT_EQ(config.groups.size(), 1U);
  EXPECT_EQ(config.groups[0].field, "quantization_config.config_groups.group_0");
  EXPECT_THAT(config.groups[0].targets.patterns(), ElementsAre("Linear"));
  EXPECT_EQ(config.groups[0].scheme, (QuantizationScheme{WeightScheme{true, true}, InputQuant::Kind::kStatic, false}));
  EXPECT_THAT(config.warnings, IsEmpty());
}

// As llm-compressor writes it now, with every field.
TEST(ParseQuantizationConfig, FieldsOfPublishedCheckpoints) {
  json block = Block();
  block["version"] = "0.12.2";
  block["format"] = "naive-quantized";
  block["quantization_status"] = "frozen";
  block["global_compression_ratio"] = 1.4;
  block["sparsity_config"] = {{"format", "dense"}, {"global_sparsity", 0.1}, {"ignore", json::array()}};
  block["transform_config"] = {{"config_groups", json::object()}};
  block["not_known_yet"] = nullptr;
  json& group = block["config_groups"]["group_0"];
  group["format"] = "int-quantized";
  group["weights"].update({{"actorder", nullptr},
                           {"block_structure", nullptr},
                           {"group_size", nullptr},
                           {"observer_kwargs", json::object()},
                           {"scale_dtype", nullptr},
                           {"zp_dtype", "torch.int8"}});
  group["input_activations"] = group["weights"];
  group["input_activations"].update({{"dynamic", true}, {"strategy", "token"}, {"observer", nullptr}});
  const QuantizationConfig config = Parse(block);
  EXPECT_EQ(config.format, "naive-quantized");
  EXPECT_EQ(config.groups[0].scheme, (QuantizationScheme{WeightScheme{true, true}, InputQuant::Kind::kDynamic, true}));
  EXPECT_THAT(config.warnings, IsEmpty());
  EXPECT_EQ(Message(With("/sparsity_config", json::object())), "");
  EXPECT_EQ(Message(With("/transform_config", json::object())), "");
  EXPECT_EQ(Message(With("/weights/actorder", "weight")), "");
  EXPECT_EQ(Message(With("/weights/actorder", false)), "");
  EXPECT_EQ(Message(With("/weights/group_size", -1)), "");
}

TEST(ParseQuantizationConfig, AbsentFieldsHaveCompressedTensorsDefaults) {
  json block = Block();
  block.erase("ignore");
  block["config_groups"]["group_0"] = {{"targets", {"q_proj"}}, {"weights", json::object()}};
  EXPECT_EQ(Parse(block).groups[0].scheme,
            (QuantizationScheme{WeightScheme{true, false}, InputQuant::Kind::kNone, true}));
  EXPECT_THAT(Parse(block).ignore.patterns(), IsEmpty());
  EXPECT_TRUE(Parse(With("/weights/strategy", "tensor")).groups[0].scheme.weights == (WeightScheme{true, false}));
  EXPECT_EQ(Parse(With("/weights", nullptr)).groups[0].scheme.weights, std::nullopt);
  EXPECT_EQ(Parse(With("/input_activations", nullptr)).groups[0].scheme.input, InputQuant::Kind::kNone);
}

struct Case {
  std::string pointer;
  json value;
  std::string message;
};

void ExpectMessages(const std::vector<Case>& cases) {
  for (const Case& c : cases) {
    EXPECT_THAT(Message(With(c.pointer, c.value)), StartsWith(c.message)) << c.pointer;
  }
}

TEST(ParseQuantizationConfig, WhatIsNotRunIsNamed) {
  const std::string weights = "quantization_config.config_groups.group_0.weights.";
  const std::string input = "quantization_config.config_groups.group_0.input_activations.";
  ExpectMessages({
      {"/quant_method", "awq",
       "quantization_config.quant_method \"awq\" isn't run here; \"compressed-tensors\" is: use"},
      {"/format", "pack-quantized",
       "quantization_config.config_groups.group_0.weights.num_bits 8 with format \"pack-quantized\" isn't run here; 8 "
       "with \"int-quantized\" and 4 with \"pack-quantized\" are"},
      {"/format", "mixed-precision",
       "quantization_config.config_groups.group_0.format is missing; quantization_config.format \"mixed-precision\" "
       "leaves it to the groups"},
      {"/format", "float-quantized",
       "quantization_config.format \"float-quantized\" isn't run here; \"int-quantized\", \"naive-quantized\" and "
       "\"pack-quantized\" are: use an int8 or 4-bit checkpoint of that form, or the model's float16, bfloat16 or "
       "float32 checkpoint"},
      {"/format", "nvfp4-pack-quantized", "quantization_config.format \"nvfp4-pack-quantized\" isn't run here"},
      {"/format", "marlin-24", "quantization_config.format \"marlin-24\" isn't run here"},
      {"/config_groups/group_0/format", "pack-quantized",
       "quantization_config.config_groups.group_0.weights.num_bits 8 with format \"pack-quantized\" isn't run here"},
      {"/kv_cache_scheme",
       {{"num_bits", 8}},
       "quantization_config.kv_cache_scheme {\"num_bits\":8} isn't run here; null is"},
      {"/sparsity_config",
       {{"format", "sparse-24-bitmask"}},
       "quantization_config.sparsity_config.format \"sparse-24-bitmask\" isn't run here; \"dense\" is"},
      {"/sparsity_config",
       {{"global_sparsity", 0.5}},
       "quantization_config.sparsity_config.format null isn't run here; \"dense\" is"},
      {"/transform_config",
       {{"config_groups", {{"R1", json::object()}}}},
       "quantization_config.transform_config.\"config_groups\" isn't run here; a checkpoint without transforms is"},
      {"/output_activations",
       {{"num_bits", 8}},
       "quantization_config.config_groups.group_0.output_activations {\"num_bits\":8} isn't run here; null is"},
      {"/weights/num_bits", 4, weights + "num_bits 4 with format \"int-quantized\" isn't run here"},
      {"/weights/num_bits", 3, weights + "num_bits 3 isn't run here; 8 and 4 are: use an int8 or 4-bit checkpoint"},
      {"/weights/type", "float", weights + "type \"float\" isn't run here; \"int\" is"},
      {"/weights/strategy", "group",
       weights +
           "strategy \"group\" with dynamic false isn't run here; \"channel\" and \"tensor\" with dynamic false are"},
      {"/weights/strategy", "block", weights + "strategy \"block\" with dynamic false isn't run here"},
      {"/weights/strategy", "token", weights + "strategy \"token\" with dynamic false isn't run here"},
      {"/weights/dynamic", true, weights + "strategy \"channel\" with dynamic true isn't run here"},
      {"/weights/group_size", 128, weights + "group_size 128 isn't run here; null is (a scale per row or per tensor)"},
      {"/weights/block_structure", {128, 128}, weights + "block_structure [128,128] isn't run here; null is"},
      {"/weights/actorder", "group", weights + "actorder \"group\" isn't run here; null is"},
      {"/weights/actorder", true, weights + "actorder true isn't run here; null is"},
      {"/weights/rounding", "up", weights + "\"rounding\" isn't known here; use an int8 or 4-bit checkpoint"},
      {"/config_groups/group_0/bias", 1, "quantization_config.config_groups.group_0.\"bias\" isn't known here"},
      {"/input_activations/num_bits", 16, input + "num_bits 16 isn't run here; 8 is"},
      {"/input_activations/type", "float", input + "type \"float\" isn't run here; \"int\" is"},
      {"/input_activations/dynamic", true,
       input + "strategy \"tensor\" with dynamic true isn't run here; \"tensor\" with dynamic false and \"token\" with "
               "dynamic true are"},
      {"/input_activations/dynamic", "local", input + "dynamic \"local\" isn't run here; true and false are"},
      {"/input_activations/strategy", "token", input + "strategy \"token\" with dynamic false isn't run here"},
      {"/input_activations/strategy", "channel", input + "strategy \"channel\" with dynamic false isn't run here"},
  });
}

// A group of 4-bit weights as llm-compressor writes it.
json PackedBlock() {
  json block = With("/format", "pack-quantized");
  json& weights = block["config_groups"]["group_0"]["weights"];
  weights.update({{"num_bits", 4}, {"strategy", "group"}, {"group_size", 64}});
  return block;
}

std::string PackedMessage(const std::string& field, const json& value) {
  json block = PackedBlock();
  block["config_groups"]["group_0"]["weights"][field] = value;
  return Message(block);
}

TEST(ParseQuantizationConfig, FourBits) {
  const QuantizationConfig config = Parse(PackedBlock());
  EXPECT_EQ(config.format, "pack-quantized");
  EXPECT_EQ(config.groups[0].scheme.weights, (WeightScheme{true, true, 4, 64}));
  json channel = PackedBlock();
  channel["config_groups"]["group_0"]["weights"].update({{"strategy", "channel"}, {"group_size", nullptr}});
  EXPECT_EQ(Parse(channel).groups[0].scheme.weights, (WeightScheme{true, true, 4, 0}));
  json mixed = PackedBlock();
  mixed["format"] = "mixed-precision";
  mixed["config_groups"]["group_0"]["format"] = "pack-quantized";
  mixed["config_groups"]["group_1"] = Block()["config_groups"]["group_0"];
  mixed["config_groups"]["group_1"].update({{"format", "int-quantized"}, {"targets", {"lm_head"}}});
  EXPECT_EQ(Parse(mixed).groups[0].scheme.weights->bits, 4);
  EXPECT_EQ(Parse(mixed).groups[1].scheme.weights->bits, 8);

  const std::string weights = "quantization_config.config_groups.group_0.weights.";
  EXPECT_THAT(PackedMessage("symmetric", false), StartsWith(weights + "symmetric false with 4 bits isn't run here"));
  EXPECT_EQ(PackedMessage("group_size", 256), weights + "group_size 256 isn't run here; 32, 64, 128 and null are");
  EXPECT_EQ(PackedMessage("group_size", nullptr),
            weights + "strategy \"group\" with group_size 0; \"group\" goes with a size, and a size with \"group\"");
  EXPECT_THAT(PackedMessage("actorder", "group"), StartsWith(weights + "actorder \"group\" isn't run here"));
  EXPECT_EQ(PackedMessage("actorder", "static"), "");
  EXPECT_THAT(PackedMessage("num_bits", 8), StartsWith(weights + "group_size 64 isn't run here"));
  json inputs = PackedBlock();
  inputs["config_groups"]["group_0"]["input_activations"]["num_bits"] = 4;
  EXPECT_THAT(Message(inputs), testing::HasSubstr("input_activations.num_bits 4 isn't run here; 8 is"));
}

TEST(QuantizationConfigJson, SeveralSchemesAreReadBackTheSame) {
  using Kind = InputQuant::Kind;
  const QuantizationScheme four = {WeightScheme{true, true, 4, 128}, Kind::kStatic, false};
  const QuantizationScheme eight = {WeightScheme{true, true}, Kind::kStatic, false};
  const QuantizationConfig config =
      Parse(QuantizationConfigJson({{{"Linear"}, four}, {{"model.layers.0.mlp.fc2"}, eight}}, {"lm_head"}));
  EXPECT_EQ(config.format, "mixed-precision");
  EXPECT_EQ(config.groups[0].scheme, four);
  EXPECT_EQ(config.groups[1].scheme, eight);
  EXPECT_THAT(config.groups[1].targets.patterns(), ElementsAre("model.layers.0.mlp.fc2"));
  EXPECT_EQ(Parse(QuantizationConfigJson(four, {})).format, "pack-quantized");
}

TEST(ParseQuantizationConfig, WrongTypesAndMissingFields) {
  const std::string group = "quantization_config.config_groups.group_0";
  ExpectMessages({
      {"/quant_method", nullptr, "field quantization_config.quant_method is missing; expected \"compressed-tensors\""},
      {"/quant_method", 3, "quantization_config.quant_method is 3; expected a string"},
      {"/format", nullptr, "field quantization_config.format is missing; expected \"int-quantized\""},
      {"/ignore", "lm_head", "quantization_config.ignore is \"lm_head\"; expected a list of names"},
      {"/ignore", {1, 2}, "quantization_config.ignore is [1,2]; expected a list of names"},
      {"/ignore", {"re:("}, "quantization_config.ignore: \"re:(\" is not a regular expression: missing closing"},
      {"/config_groups", nullptr, "field quantization_config.config_groups is missing"},
      {"/config_groups", json::object(),
       "quantization_config.config_groups is {}; expected an object of 1 to 64 groups"},
      {"/config_groups",
       {{"W8A8", {"Linear"}}},
       "quantization_config.config_groups.W8A8 is [\"Linear\"]; expected an object"},
      {"/config_groups", {{"a b\n", 1}}, "quantization_config.config_groups.\"a b\\x0a\" is 1; expected an object"},
      {"/targets", nullptr, group + ".targets names nothing; expected [\"Linear\"] or names of layers"},
      {"/targets", {"re:["}, group + ".targets: \"re:[\" is not a regular expression"},
      {"/weights", 8, group + ".weights is 8; expected an object or null"},
      {"/weights/symmetric", "yes", group + ".weights.symmetric is \"yes\"; expected true or false"},
      {"/weights/num_bits", 8.5, group + ".weights.num_bits is 8.5; expected a whole number"},
      {"/sparsity_config", 1, "quantization_config.sparsity_config is 1; expected an object or null"},
      {"/transform_config", 1, "quantization_config.transform_config is 1; expected an object or null"},
      {"/config_groups/group_0", {{"targets", {"Linear"}}}, group + " quantises neither weights nor input_activations"},
  });
  EXPECT_EQ(Message(json::array()), "quantization_config is []; expected an object or null");
}

TEST(ParseQuantizationConfig, UnknownTopFieldsAreReported) {
  EXPECT_THAT(Parse(With("/colour", "red")).warnings,
              ElementsAre("dir/config.json: quantization_config.\"colour\" isn't known here and was passed over"));
}

std::string GroupOf(QuantizationMatcher* matcher, const std::string& module) {
  const Result<const QuantizationGroup*> group = matcher->Find(module);
  EXPECT_TRUE(group.ok()) << group.status().message();
  return group.value() == nullptr ? "" : group.value()->field.substr(group.value()->field.rfind('.') + 1);
}

TEST(QuantizationMatcher, TheMostSpecificTargetCountsThenTheFirstGroup) {
  json block = Block();
  const json group = block["config_groups"]["group_0"];
  for (const char* name : {"group_1", "group_2", "group_3", "group_4"}) {
    block["config_groups"][name] = group;
  }
  block["config_groups"]["group_1"]["targets"] = {"re:.*mlp.*", "re:.*nothing.*"};
  block["config_groups"]["group_2"]["targets"] = {"model.layers.0.mlp.fc1", "fc2", "Embedding"};
  block["config_groups"]["group_3"]["targets"] = {"re:.*mlp.*", "dense"};
  block["ignore"] = {"re:.*k_proj", "v_proj", "lm_head", "re:gone", "model.layers.7.mlp.fc1"};
  const QuantizationConfig config = Parse(block);
  QuantizationMatcher matcher(config);
  EXPECT_EQ(GroupOf(&matcher, "model.layers.0.self_attn.q_proj"), "group_0");
  EXPECT_EQ(GroupOf(&matcher, "model.layers.0.self_attn.dense"), "group_3");
  EXPECT_EQ(GroupOf(&matcher, "model.layers.0.mlp.fc1"), "group_2");
  EXPECT_EQ(GroupOf(&matcher, "model.layers.1.mlp.fc1"), "group_1");
  EXPECT_EQ(GroupOf(&matcher, "model.layers.0.mlp.fc2"), "group_1");
  EXPECT_EQ(GroupOf(&matcher, "model.layers.0.self_attn.k_proj"), "");
  EXPECT_EQ(GroupOf(&matcher, "model.layers.0.self_attn.v_proj"), "");
  EXPECT_EQ(GroupOf(&matcher, "lm_head"), "");
  EXPECT_THAT(
      matcher.Warnings(),
      ElementsAre("dir/config.json: quantization_config.ignore: \"re:gone\" matches no linear layer",
                  "dir/config.json: quantization_config.ignore: \"model.layers.7.mlp.fc1\" matches no linear layer",
                  "dir/config.json: quantization_config.config_groups.group_1.targets: \"re:.*nothing.*\" matches no "
                  "linear layer",
                  "dir/config.json: quantization_config.config_groups.group_2.targets: \"Embedding\" matches no linear "
                  "layer"));
}

TEST(QuantizationMatcher, ManyUnmatchedPatternsAreCounted) {
  json names = json::array();
  for (int i = 0; i < 15; ++i) {
    names.push_back("expert." + std::to_string(i));
  }
  const QuantizationConfig config = Parse(With("/ignore", names));
  QuantizationMatcher matcher(config);
  GroupOf(&matcher, "lm_head");
  const std::vector<std::string> warnings = matcher.Warnings();
  ASSERT_EQ(warnings.size(), 11U);
  EXPECT_EQ(warnings.back(),
            "dir/config.json: quantization_config.ignore: 5 more of its patterns match no linear layer");
}

TEST(QuantizationConfigJson, IsTheBlockOfTheFormat) {
  const QuantizationScheme scheme = {WeightScheme{true, true}, InputQuant::Kind::kStatic, false};
  EXPECT_EQ(QuantizationConfigJson(scheme, {"lm_head"}).dump(), nlohmann::ordered_json::parse(kBlock).dump());
}

TEST(QuantizationConfigJson, IsReadBackTheSame) {
  using Kind = InputQuant::Kind;
  for (const bool weights_symmetric : {true, false}) {
    for (const bool per_channel : {true, false}) {
      for (const Kind input : {Kind::kNone, Kind::kStatic, Kind::kDynamic}) {
        for (const bool input_symmetric : {true, false}) {
          const QuantizationScheme scheme = {WeightScheme{weights_symmetric, per_channel}, input,
                                             input == Kind::kNone || input_symmetric};
          const QuantizationConfig config = Parse(QuantizationConfigJson(scheme, {"lm_head", "re:.*fc2"}));
          EXPECT_EQ(config.groups[0].scheme, scheme);
          EXPECT_THAT(config.ignore.patterns(), ElementsAre("lm_head", "re:.*fc2"));
        }
      }
    }
  }
  const QuantizationScheme inputs_only = {std::nullopt, Kind::kDynamic, true};
  EXPECT_EQ(Parse(QuantizationConfigJson(inputs_only, {})).groups[0].scheme, inputs_only);
}

}  // namespace
}  // namespace phidias
