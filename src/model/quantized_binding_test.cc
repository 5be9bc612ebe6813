// Binding of int8 checkpoints: every scheme gives the bytes, scales and zero points that are stored, in every shape and
// type that they come in; whatever is missing, extra, misshapen, mistyped or senseless is named. Oracle: the values
// that the builder was told to store.

#include "model/quantized_binding.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "model/checkpoint.h"
#include "tests/support/checkpoint_builder.h"

namespace phidias {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing_support::BuildTensors;
using testing_support::BuiltTensor;
using testing_support::BuiltTensors;
using testing_support::DecodeValue;
using testing_support::EncodeValues;
using testing_support::Int8Bytes;
using testing_support::LayerLinearNames;
using testing_support::MakeStore;
using testing_support::QuantizeLinear;
using testing_support::SmallConfig;
using Kind = InputQuant::Kind;

constexpr const char* kFc1 = "model.layers.1.mlp.fc1";
const QuantizationScheme kW8A8 = {WeightScheme{true, true}, Kind::kStatic, false};
const QuantizationScheme kAllAsymmetric = {WeightScheme{false, true}, Kind::kStatic, false};

PhiConfig ConfigOf(const QuantizationScheme& scheme, const std::vector<std::string>& ignore = {"lm_head"}) {
  PhiConfig config = SmallConfig();
  Result<QuantizationConfig> quantization =
      ParseQuantizationConfig(QuantizationConfigJson(scheme, ignore), "dir/config.json");
  EXPECT_TRUE(quantization.ok()) << quantization.status().message();
  config.quantization = *std::move(quantization);
  return config;
}

BuiltTensors TensorsOf(const QuantizationScheme& scheme) {
  BuiltTensors tensors = BuildTensors(SmallConfig());
  for (const std::string& name : LayerLinearNames(SmallConfig().n_layers)) {
    QuantizeLinear(name, scheme, {}, &tensors);
  }
  return tensors;
}

// The weight as the scheme stands for it, against the float weight it was made from: half a step at most.
void ExpectCloseTo(const LinearWeights& linear, const BuiltTensor& original) {
  ASSERT_EQ(linear.weight.dtype, DType::kI8);
  ASSERT_EQ(linear.quant.scale.size(), static_cast<size_t>(linear.weight.rows));
  for (int64_t row = 0; row < linear.weight.rows; ++row) {
    const float scale = linear.quant.scale[static_cast<size_t>(row)];
    const int32_t zero_point = linear.quant.zero_point.empty() ? 0 : linear.quant.zero_point[static_cast<size_t>(row)];
    for (int64_t col = 0; col < linear.weight.cols; ++col) {
      const auto q = static_cast<int8_t>(linear.weight.Row(row)[col]);
      const float value = DecodeValue(original.dtype, original.bytes.data(), row * linear.weight.cols + col);
      ASSERT_NEAR(scale * static_cast<float>(q - zero_point), value, 0.501F * scale) << linear.name;
    }
  }
}

void ExpectInput(const InputQuant& input, const QuantizationScheme& scheme) {
  EXPECT_EQ(input.kind, scheme.input);
  EXPECT_EQ(input.symmetric, scheme.input_symmetric);
  if (scheme.input == Kind::kStatic) {  // of the builder's range, -4..5
    EXPECT_FLOAT_EQ(input.scale, scheme.input_symmetric ? 5.0F / 127.5F : 9.0F / 255.0F);
    EXPECT_EQ(input.zero_point, scheme.input_symmetric ? 0 : -15);
  }
}

TEST(BindQuantized, EveryScheme) {
  const BuiltTensors original = BuildTensors(SmallConfig());
  for (const bool symmetric : {true, false}) {
    for (const bool per_channel : {true, false}) {
      for (const Kind input : {Kind::kNone, Kind::kStatic, Kind::kDynamic}) {
        for (const bool input_symmetric : {true, false}) {
          const QuantizationScheme scheme = {WeightScheme{symmetric, per_channel}, input,
                                             input == Kind::kNone || input_symmetric};
          const TensorStore store = MakeStore(TensorsOf(scheme));
          std::vector<std::string> warnings;
          const Result<PhiWeights> weights = BindPhiWeights(ConfigOf(scheme), store, "dir", &warnings);
          ASSERT_TRUE(weights.ok()) << weights.status().message();
          EXPECT_THAT(warnings, IsEmpty());
          for (const PhiLayerWeights& layer : weights.value().layers) {
            for (const LinearWeights* linear :
                 {&layer.q_proj, &layer.k_proj, &layer.v_proj, &layer.dense, &layer.fc1, &layer.fc2}) {
              ExpectCloseTo(*linear, original.at(linear->name + ".weight"));
              EXPECT_EQ(linear->quant.zero_point.empty(), symmetric);
              EXPECT_EQ(linear->weight.data, store.tensors.at(linear->name + ".weight").data);
              EXPECT_EQ(linear->bias.size(), static_cast<size_t>(linear->weight.rows));
              ExpectInput(linear->input, scheme);
            }
          }
          EXPECT_EQ(weights.value().lm_head.weight.dtype, DType::kF32);
          EXPECT_EQ(weights.value().lm_head.input.kind, Kind::kNone);
        }
      }
    }
  }
}

TEST(BindQuantized, InputsOnly) {
  const QuantizationScheme scheme = {std::nullopt, Kind::kStatic, false};
  BuiltTensors tensors = TensorsOf(scheme);
  const TensorStore store = MakeStore(tensors);
  const Result<PhiWeights> weights = BindPhiWeights(ConfigOf(scheme), store, "dir");
  ASSERT_TRUE(weights.ok()) << weights.status().message();
  EXPECT_EQ(weights.value().layers[1].fc1.weight.dtype, DType::kF32);
  ExpectInput(weights.value().layers[1].fc1.input, scheme);
  tensors[std::string(kFc1) + ".weight_scale"] = tensors.at(std::string(kFc1) + ".input_scale");
  EXPECT_EQ(BindPhiWeights(ConfigOf(scheme), MakeStore(tensors, "m"), "dir").status().message(),
            "m: tensor \"model.layers.1.mlp.fc1.weight_scale\" is there, but "
            "quantization_config.config_groups.group_0.weights is null");
}

TEST(BindQuantized, QuantizedHead) {
  BuiltTensors tensors = TensorsOf(kW8A8);
  QuantizeLinear("lm_head", kW8A8, {}, &tensors);
  const TensorStore store = MakeStore(tensors);
  const Result<PhiWeights> weights = BindPhiWeights(ConfigOf(kW8A8, {}), store, "dir");
  ASSERT_TRUE(weights.ok()) << weights.status().message();
  EXPECT_EQ(weights.value().lm_head.weight.dtype, DType::kI8);
  EXPECT_EQ(weights.value().lm_head.quant.scale.size(), 96U);

  PhiConfig tied = ConfigOf(kW8A8, {});
  tied.tie_word_embeddings = true;
  EXPECT_EQ(BindPhiWeights(tied, store, "dir").status().message(),
            "dir: quantization_config.config_groups.group_0 quantises lm_head, which tie_word_embeddings ties to the "
            "embedding; that isn't run here: add \"lm_head\" to quantization_config.ignore");
  tied = ConfigOf(kW8A8);
  tied.tie_word_embeddings = true;
  const TensorStore without_head = MakeStore(TensorsOf(kW8A8));
  EXPECT_TRUE(BindPhiWeights(tied, without_head, "dir").ok());
}

// The message after `change` was made to a good checkpoint's tensors; empty if it still binds.
template <class Change>
std::string MessageAfter(const QuantizationScheme& scheme, const Change& change) {
  BuiltTensors tensors = TensorsOf(scheme);
  change(&tensors);
  return BindPhiWeights(ConfigOf(scheme), MakeStore(tensors, "dir/m"), "dir").status().message();
}

std::string Named(const char* suffix) {
  return std::string(kFc1) + suffix;
}

TEST(BindQuantized, ShapesAndTypesOfParameters) {
  const auto reshape = [](const char* suffix, const std::vector<int64_t>& shape) {
    return [=](BuiltTensors* t) { t->at(Named(suffix)).shape = shape; };
  };
  EXPECT_EQ(MessageAfter(kAllAsymmetric, reshape(".weight_scale", {128})), "");
  EXPECT_EQ(MessageAfter(kAllAsymmetric, reshape(".weight_zero_point", {128})), "");
  EXPECT_EQ(MessageAfter(kAllAsymmetric, reshape(".input_scale", {})), "");
  EXPECT_EQ(MessageAfter(kAllAsymmetric, reshape(".input_scale", {1, 1})), "");
  EXPECT_EQ(MessageAfter(kAllAsymmetric, reshape(".input_zero_point", {})), "");
  EXPECT_EQ(MessageAfter(kAllAsymmetric, reshape(".weight_scale", {1, 128})),
            "dir/m: tensor \"model.layers.1.mlp.fc1.weight_scale\" has shape [1, 128]; expected [128, 1] "
            "(intermediate_size 128)");
  EXPECT_EQ(MessageAfter(kAllAsymmetric, reshape(".input_scale", {2})),
            "dir/m: tensor \"model.layers.1.mlp.fc1.input_scale\" has shape [2]; expected [1]");
  EXPECT_EQ(MessageAfter({WeightScheme{true, false}}, reshape(".weight_scale", {})), "");
  EXPECT_EQ(MessageAfter({WeightScheme{true, false}}, reshape(".weight_scale", {128, 1})),
            "dir/m: tensor \"model.layers.1.mlp.fc1.weight_scale\" has shape [128, 1]; expected [1]");
  EXPECT_EQ(MessageAfter(kW8A8, reshape(".weight", {64, 128})),
            "dir/m: tensor \"model.layers.1.mlp.fc1.weight\" has shape [64, 128]; expected [128, 64] "
            "(intermediate_size 128, hidden_size 64)");
}

TEST(BindQuantized, ScalesOfEveryFloatType) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    BuiltTensors tensors = TensorsOf(kW8A8);
    std::vector<float> scales(128, 0.25F);
    scales[5] = 1e-7F;  // below the least scale; a subnormal half
    tensors.at(Named(".weight_scale")) = {dtype, {128, 1}, EncodeValues(scales, dtype)};
    tensors.at(Named(".input_scale")) = {dtype, {1}, EncodeValues({0.5F}, dtype)};
    const TensorStore store = MakeStore(tensors);
    const Result<PhiWeights> weights = BindPhiWeights(ConfigOf(kW8A8), store, "dir");
    ASSERT_TRUE(weights.ok()) << weights.status().message();
    scales[5] = std::numeric_limits<float>::epsilon();
    EXPECT_EQ(weights.value().layers[1].fc1.quant.scale, scales);
    EXPECT_EQ(weights.value().layers[1].fc1.input.scale, 0.5F);
  }
  EXPECT_EQ(MessageAfter(kW8A8, [](BuiltTensors* t) { t->at(Named(".weight_scale")).dtype = DType::kI32; }),
            "dir/m: tensor \"model.layers.1.mlp.fc1.weight_scale\" has dtype I32; scales are F32, F16 or BF16");
  EXPECT_THAT(MessageAfter(kW8A8, [](BuiltTensors* t) { t->at(Named(".weight_scale")).bytes.resize(9); }),
              HasSubstr("has 9 bytes; expected 512"));
}

TEST(BindQuantized, SenselessScales) {
  for (const auto& [bad, said] : {std::pair(0.0F, "0 at index 3; expected positive numbers"),
                                  std::pair(-0.5F, "-0.5 at index 3; expected positive numbers"),
                                  std::pair(std::nanf(""), "nan at index 3; expected finite numbers"),
                                  std::pair(HUGE_VALF, "inf at index 3; expected finite numbers")}) {
    const float value = bad;
    EXPECT_EQ(MessageAfter(kW8A8,
                           [&](BuiltTensors* t) {
                             std::memcpy(t->at(Named(".weight_scale")).bytes.data() + 12, &value, sizeof value);
                           }),
              StrCat("dir/m: tensor \"model.layers.1.mlp.fc1.weight_scale\" holds ", said));
  }
}

TEST(BindQuantized, MissingTensors) {
  const auto without = [](const char* suffix) { return [=](BuiltTensors* t) { t->erase(Named(suffix)); }; };
  EXPECT_THAT(MessageAfter(kAllAsymmetric, without(".weight_scale")),
              HasSubstr("dir: tensor \"model.layers.1.mlp.fc1.weight_scale\" of shape [128, 1] (intermediate_size 128) "
                        "is missing; found "));
  EXPECT_THAT(MessageAfter(kAllAsymmetric, without(".weight_zero_point")), HasSubstr("weight_zero_point\" of shape"));
  EXPECT_THAT(MessageAfter(kAllAsymmetric, without(".input_scale")),
              HasSubstr("fc1.input_scale\" of shape [1] is missing; found "));
  EXPECT_THAT(MessageAfter(kAllAsymmetric, without(".input_zero_point")), HasSubstr("input_zero_point\" of shape [1]"));
  EXPECT_THAT(MessageAfter(kW8A8, without(".bias")), HasSubstr("fc1.bias\" of shape [128]"));
  // Packed weights, if config.json says int-quantized all the same.
  EXPECT_THAT(MessageAfter(kW8A8,
                           [](BuiltTensors* t) {
                             (*t)[Named(".weight_packed")] = t->at(Named(".weight"));
                             t->erase(Named(".weight"));
                           }),
              HasSubstr("is missing; is it \"model.layers.1.mlp.fc1.weight_packed\"?"));
}

TEST(BindQuantized, ZeroPointsUnderSymmetric) {
  const auto add = [](const char* suffix, const BuiltTensor& tensor) {
    return [=](BuiltTensors* t) { (*t)[Named(suffix)] = tensor; };
  };
  const QuantizationScheme symmetric = {WeightScheme{true, true}, Kind::kStatic, true};
  const BuiltTensor zeros = {DType::kI8, {128, 1}, std::vector<std::byte>(128)};
  BuiltTensor one = zeros;
  one.bytes[7] = std::byte{1};
  EXPECT_EQ(MessageAfter(symmetric, add(".weight_zero_point", zeros)), "");
  EXPECT_EQ(MessageAfter(symmetric, add(".input_zero_point", {DType::kI32, {}, std::vector<std::byte>(4)})), "");
  EXPECT_EQ(MessageAfter(symmetric, add(".weight_zero_point", one)),
            "dir/m: tensor \"model.layers.1.mlp.fc1.weight_zero_point\" isn't all zero, but "
            "quantization_config.config_groups.group_0.weights.symmetric is true");
  EXPECT_EQ(MessageAfter(symmetric, add(".input_zero_point", {DType::kI8, {1}, Int8Bytes({-3})})),
            "dir/m: tensor \"model.layers.1.mlp.fc1.input_zero_point\" isn't all zero, but "
            "quantization_config.config_groups.group_0.input_activations.symmetric is true");
  EXPECT_EQ(MessageAfter(kAllAsymmetric, [](BuiltTensors* t) { t->at(Named(".input_zero_point")).dtype = DType::kU8; }),
            "dir/m: tensor \"model.layers.1.mlp.fc1.input_zero_point\" has dtype U8; zero points are I8");
}

TEST(BindQuantized, ParametersWithoutUse) {
  const BuiltTensor scale = {DType::kF32, {1}, EncodeValues({1.0F}, DType::kF32)};
  const auto add = [&](BuiltTensors* t) { (*t)[Named(".input_scale")] = scale; };
  EXPECT_EQ(MessageAfter({WeightScheme(), Kind::kDynamic, true}, add),
            "dir/m: tensor \"model.layers.1.mlp.fc1.input_scale\" is there, but "
            "quantization_config.config_groups.group_0.input_activations.dynamic is true");
  EXPECT_EQ(MessageAfter({WeightScheme(), Kind::kNone, true}, add),
            "dir/m: tensor \"model.layers.1.mlp.fc1.input_scale\" is there, but "
            "quantization_config.config_groups.group_0.input_activations is null");
  EXPECT_EQ(MessageAfter(kW8A8, [&](BuiltTensors* t) { (*t)["lm_head.weight_scale"] = scale; }),
            "dir: 1 tensor doesn't belong to a phi model of 2 layers: \"lm_head.weight_scale\"");
}

TEST(BindQuantized, FloatWhereInt8IsExpectedAndTheOtherWayRound) {
  const BuiltTensors original = BuildTensors(SmallConfig());
  EXPECT_EQ(MessageAfter(kW8A8, [&](BuiltTensors* t) { t->at(Named(".weight")) = original.at(Named(".weight")); }),
            "dir/m: tensor \"model.layers.1.mlp.fc1.weight\" has dtype F32; expected I8, as "
            "quantization_config.config_groups.group_0 quantises this layer (a model that is only prepared for "
            "quantisation must be saved compressed)");
  EXPECT_EQ(MessageAfter(kW8A8, [](BuiltTensors* t) { QuantizeLinear("lm_head", kW8A8, {}, t); }),
            "dir/m: tensor \"lm_head.weight\" has dtype I8; weights are F32, F16 or BF16 (quantization_config leaves "
            "this one in float)");
  EXPECT_THAT(MessageAfter(kW8A8, [](BuiltTensors* t) { t->at("model.embed_tokens.weight").dtype = DType::kI8; }),
              HasSubstr("\"model.embed_tokens.weight\" has dtype I8"));
  EXPECT_THAT(MessageAfter(kW8A8, [](BuiltTensors* t) { t->at(Named(".weight")).bytes.resize(100); }),
              HasSubstr("has 100 bytes; expected 8192"));
}

TEST(BindQuantized, OtherNamings) {
  for (const TensorNaming naming : {TensorNaming::kPhiMsft, TensorNaming::kMixformerSequential}) {
    PhiConfig config = ConfigOf(kW8A8);
    config.naming = naming;
    EXPECT_EQ(BindPhiWeights(config, MakeStore(BuildTensors(config, {.naming = naming})), "dir").status().message(),
              StrCat("dir: a quantization_config for tensors named as in ", NamingName(naming),
                     " isn't run here; one for the phi kind (\"model.layers.0...\") is"));
  }
}

TEST(BindQuantized, WarningsAndHostilePatterns) {
  const TensorStore store = MakeStore(TensorsOf(kW8A8));
  std::vector<std::string> warnings;
  ASSERT_TRUE(BindPhiWeights(ConfigOf(kW8A8, {"lm_head", "re:.*gate"}), store, "dir", &warnings).ok());
  EXPECT_THAT(warnings,
              ElementsAre("dir/config.json: quantization_config.ignore: \"re:.*gate\" matches no linear layer"));
  EXPECT_THAT(
      BindPhiWeights(ConfigOf(kW8A8, {"re:(.*)*(.*)*(.*)*[!?]"}), store, "dir").status().message(),
      HasSubstr("dir/config.json: quantization_config.ignore: \"re:(.*)*(.*)*(.*)*[!?]\" can't be matched with"));
}

}  // namespace
}  // namespace phidias
