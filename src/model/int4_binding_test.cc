// Binding of 4-bit checkpoints: other programs' files become row scales and multipliers that stand for nearly the same
// weights, and say what that cost; our constants must belong to the file; whatever isn't run or doesn't fit is named.

#include "model/int4_binding.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "backend/int4_rows.h"
#include "model/checkpoint.h"
#include "model/int4_constants_file.h"
#include "tests/support/checkpoint_builder.h"
#include "tests/support/int4_tensors.h"

namespace phidias {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing_support::BuildTensors;
using testing_support::BuiltTensor;
using testing_support::BuiltTensors;
using testing_support::EncodeValues;
using testing_support::LayerLinearNames;
using testing_support::MakeStore;
using testing_support::PackLinear;
using testing_support::ShapeTensor;
using testing_support::SmallConfig;
using testing_support::TempDir;

constexpr const char* kFc1 = "model.layers.1.mlp.fc1";  // [128, 64]

PhiConfig ConfigOf(int64_t group) {
  PhiConfig config = SmallConfig();
  const QuantizationScheme scheme = {WeightScheme{true, true, 4, group}, InputQuant::Kind::kNone, true};
  config.quantization = *ParseQuantizationConfig(QuantizationConfigJson(scheme, {"lm_head"}), "dir/config.json");
  return config;
}

BuiltTensors Packed(int64_t group, DType scale_dtype = DType::kBF16) {
  BuiltTensors tensors = BuildTensors(SmallConfig());
  for (const std::string& name : LayerLinearNames(SmallConfig().n_layers)) {
    PackLinear(name, group, scale_dtype, &tensors);
  }
  return tensors;
}

// Relative error of fc1 as bound against what the other program's tensors say.
double LossOf(const LinearWeights& linear, const BuiltTensors& tensors, int64_t group) {
  const BuiltTensor& scale = tensors.at(linear.name + ".weight_scale");
  const BuiltTensor& packed = tensors.at(linear.name + ".weight_packed");
  const WeightMatrix& matrix = linear.weight;
  std::vector<float> w(static_cast<size_t>(matrix.cols));
  std::vector<int8_t> q(w.size());
  double noise = 0;
  double signal = 0;
  for (int64_t n = 0; n < matrix.rows; ++n) {
    DecodeInt4Row(matrix, linear.quant, n, w.data());
    UnpackInt4Row(packed.bytes.data() + n * matrix.RowBytes(), matrix.cols, q.data());
    for (int64_t k = 0; k < matrix.cols; ++k) {
      const int64_t at = n * scale.shape[1] + (group == 0 ? 0 : k / group);
      const double want = testing_support::DecodeValue(scale.dtype, scale.bytes.data(), at) * q[static_cast<size_t>(k)];
      noise += std::pow(want - w[static_cast<size_t>(k)], 2);
      signal += want * want;
    }
  }
  return std::sqrt(noise / signal);
}

TEST(BindInt4, OtherProgramsScalesAreFittedAndTheLossIsSaid) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    for (const int64_t group : {32, 64}) {
      const BuiltTensors tensors = Packed(group, dtype);
      TensorStore store = MakeStore(tensors);
      Int4Binder int4(nullptr, &store);
      std::vector<std::string> warnings;
      const Result<PhiWeights> weights = BindPhiWeights(ConfigOf(group), store, "dir", &warnings, &int4);
      ASSERT_TRUE(weights.ok()) << weights.status().message();
      const LinearWeights& fc1 = weights->layers[1].fc1;
      EXPECT_EQ(fc1.weight.dtype, DType::kI4);
      EXPECT_EQ(fc1.quant.group, group);
      EXPECT_EQ(fc1.quant.multiplier.size(), static_cast<size_t>(128 * 64 / group));
      EXPECT_LT(LossOf(fc1, tensors, group), 0.012);  // a multiplier of 12 or more is off by half at most
      if (group == 64) {                              // fc2 has two groups: one step of two can't be had exactly
        EXPECT_THAT(warnings, testing::ElementsAre(testing::AllOf(
                                  HasSubstr("dir: its 4-bit weights come without phidias_int4.safetensors"),
                                  HasSubstr("that moved the weights by 0."), HasSubstr("most in model.layers."))));
      }
    }
  }
}

TEST(BindInt4, AScalePerRowIsTakenAsItIs) {
  const BuiltTensors tensors = Packed(0);
  const TensorStore store = MakeStore(tensors);
  std::vector<std::string> warnings;
  const Result<PhiWeights> weights = BindPhiWeights(ConfigOf(0), store, "dir", &warnings);
  ASSERT_TRUE(weights.ok()) << weights.status().message();
  EXPECT_EQ(LossOf(weights->layers[1].fc1, tensors, 0), 0);
  EXPECT_EQ(weights->layers[1].fc1.quant.group, 128);
  EXPECT_THAT(warnings, IsEmpty());
}

// A group far below its row's largest has a coarse multiplier: its codes are rounded to it.
TEST(BindInt4, RoundsAnewWhereThatLosesLess) {
  BuiltTensors tensors = Packed(32, DType::kF32);
  std::vector<float> scales(256, 1.0F);
  for (size_t i = 1; i < scales.size(); i += 2) {
    scales[i] = 0.004F;  // a quarter of the smallest step that the row has
  }
  tensors.at(std::string(kFc1) + ".weight_scale").bytes = EncodeValues(scales, DType::kF32);
  TensorStore store = MakeStore(tensors);
  Int4Binder rounding(nullptr, &store);
  const Result<PhiWeights> rounded = BindPhiWeights(ConfigOf(32), store, "dir", nullptr, &rounding);
  ASSERT_TRUE(rounded.ok()) << rounded.status().message();
  Int4Binder keeping(nullptr, nullptr);
  const Result<PhiWeights> kept = BindPhiWeights(ConfigOf(32), store, "dir", nullptr, &keeping);
  ASSERT_TRUE(kept.ok()) << kept.status().message();
  EXPECT_EQ(kept->layers[1].fc1.weight.data, store.tensors.at(std::string(kFc1) + ".weight_packed").data);
  EXPECT_NE(rounded->layers[1].fc1.weight.data, kept->layers[1].fc1.weight.data);
  EXPECT_LT(LossOf(rounded->layers[1].fc1, tensors, 32), LossOf(kept->layers[1].fc1, tensors, 32));
}

template <class Change>
std::string MessageAfter(const Change& change) {
  BuiltTensors tensors = Packed(32);
  change(&tensors);
  return BindPhiWeights(ConfigOf(32), MakeStore(tensors, "dir/m"), "dir").status().message();
}

std::string Named(const char* suffix) {
  return std::string(kFc1) + suffix;
}

TEST(BindInt4, WhatDoesNotFitIsNamed) {
  const auto reshape = [](const char* suffix, const std::vector<int64_t>& shape) {
    return [=](BuiltTensors* t) { t->at(Named(suffix)).shape = shape; };
  };
  EXPECT_EQ(MessageAfter(reshape(".weight_packed", {128, 16})),
            "dir/m: tensor \"model.layers.1.mlp.fc1.weight_packed\" has shape [128, 16]; expected [128, 8] "
            "(intermediate_size 128, words of 8 of hidden_size 64)");
  EXPECT_EQ(MessageAfter(reshape(".weight_scale", {128, 1})),
            "dir/m: tensor \"model.layers.1.mlp.fc1.weight_scale\" has shape [128, 1]; expected [128, 2] "
            "(intermediate_size 128, groups of its columns)");
  EXPECT_EQ(MessageAfter([](BuiltTensors* t) { t->at(Named(".weight_packed")).dtype = DType::kF32; }),
            "dir/m: tensor \"model.layers.1.mlp.fc1.weight_packed\" has dtype F32; expected I32, as "
            "quantization_config.config_groups.group_0 packs this layer's weights in 4 bits");
  EXPECT_EQ(MessageAfter([](BuiltTensors* t) { t->at(Named(".weight_shape")) = ShapeTensor(128, 60); }),
            "dir/m: tensor \"model.layers.1.mlp.fc1.weight_shape\" holds [128, 60]; expected [128, 64] "
            "(intermediate_size 128, hidden_size 64)");
  EXPECT_EQ(MessageAfter([](BuiltTensors* t) { t->at(Named(".weight_shape")) = ShapeTensor(128, 64, DType::kI32); }),
            "");
  EXPECT_THAT(MessageAfter([](BuiltTensors* t) { t->at(Named(".weight_shape")).dtype = DType::kF64; }),
              HasSubstr("has dtype F64; expected I64 or I32"));
  EXPECT_THAT(MessageAfter([](BuiltTensors* t) { t->erase(Named(".weight_shape")); }),
              HasSubstr("tensor \"model.layers.1.mlp.fc1.weight_shape\" of shape [2] is missing"));
  EXPECT_THAT(MessageAfter([](BuiltTensors* t) {
                t->at(Named(".weight_scale")).bytes = EncodeValues(std::vector<float>(256, -1.0F), DType::kBF16);
              }),
              HasSubstr("holds -1 at index 0; expected positive numbers"));
}

TEST(BindInt4, WhatIsNotRunIsNamed) {
  const BuiltTensor order = {DType::kI32, {64}, std::vector<std::byte>(256)};
  EXPECT_EQ(MessageAfter([&](BuiltTensors* t) { (*t)[Named(".weight_g_idx")] = order; }),
            "dir/m: tensor \"model.layers.1.mlp.fc1.weight_g_idx\" (columns in the order of activations) isn't run "
            "here; quantise with actorder \"static\" or without it");
  const BuiltTensor zero = {DType::kI32, {16, 2}, std::vector<std::byte>(128)};
  EXPECT_EQ(MessageAfter([&](BuiltTensors* t) { (*t)[Named(".weight_zero_point")] = zero; }),
            "dir/m: tensor \"model.layers.1.mlp.fc1.weight_zero_point\" isn't run here with 4 bits; a symmetric "
            "checkpoint is");
}

// The constants of all layers of Packed(32), with its scales set to what they are a product of.
class OwnConstants {
 public:
  OwnConstants() : tensors_(Packed(32, DType::kF32)) {
    for (const std::string& name : LayerLinearNames(SmallConfig().n_layers)) {
      BuiltTensor& scale = tensors_.at(name + ".weight_scale");
      WeightQuant& quant = quants_[name];
      quant.group = 32;
      std::vector<float> steps;
      for (int64_t n = 0; n < scale.shape[0]; ++n) {
        quant.scale.push_back(0.001F * static_cast<float>(n + 1));
        for (int64_t g = 0; g < scale.shape[1]; ++g) {
          quant.multiplier.push_back(static_cast<uint8_t>((n + g * 7) % 63 + 1));
          steps.push_back(quant.scale.back() * static_cast<float>(quant.multiplier.back()));
        }
      }
      scale.bytes = EncodeValues(steps, DType::kF32);
    }
  }

  Result<PhiWeights> Bind() {
    std::vector<Int4Constants> layers;
    for (const auto& [name, quant] : quants_) {
      layers.push_back({name, &quant});
    }
    const std::string path = dir_ / kInt4ConstantsFile;
    EXPECT_TRUE(WriteInt4Constants(path, layers).ok());
    Result<TensorStore> constants = ReadInt4Constants(path);
    EXPECT_TRUE(constants.ok()) << constants.status().message();
    store_ = MakeStore(tensors_);
    Int4Binder int4(&*constants, &store_);
    return BindPhiWeights(ConfigOf(32), store_, "dir", nullptr, &int4);
  }
  std::map<std::string, WeightQuant> quants_;
  BuiltTensors tensors_;

 private:
  TempDir dir_;
  TensorStore store_;
};

TEST(BindInt4, OwnConstantsAreReadBackAndMustBelongToTheFile) {
  OwnConstants own;
  const Result<PhiWeights> weights = own.Bind();
  ASSERT_TRUE(weights.ok()) << weights.status().message();
  EXPECT_EQ(weights->layers[1].fc1.quant.scale, own.quants_.at(kFc1).scale);
  EXPECT_EQ(weights->layers[1].fc1.quant.multiplier, own.quants_.at(kFc1).multiplier);

  const WeightQuant good = own.quants_.at(kFc1);
  own.quants_.at(kFc1).multiplier[9] = 64;
  EXPECT_THAT(own.Bind().status().message(), HasSubstr("group_multiplier\" holds 64 at index 9; expected 1 to 63"));
  own.quants_.at(kFc1) = good;
  own.quants_.at(kFc1).scale[5] = -1.0F;
  EXPECT_THAT(own.Bind().status().message(),
              HasSubstr("row_scale\" holds -1 at index 5; expected a number of at least"));
  own.quants_.at(kFc1) = good;
  own.quants_.at(kFc1).scale[3] *= 1.001F;
  EXPECT_THAT(own.Bind().status().message(),
              HasSubstr("the scale of row 3, group 0 of \"model.layers.1.mlp.fc1\" is "));
  EXPECT_THAT(own.Bind().status().message(), HasSubstr("the two files don't belong together"));
  own.quants_.at(kFc1) = good;
  own.quants_["lm_head"] = good;
  EXPECT_THAT(own.Bind().status().message(), HasSubstr("\" is of no layer that config.json has in 4 bits"));
  own.quants_.erase("lm_head");
  own.quants_.erase(kFc1);
  EXPECT_EQ(
      own.Bind().status().message(),
      "phidias_int4.safetensors: tensor \"model.layers.1.mlp.fc1.row_scale\" is missing; quantise the model again");
}

}  // namespace
}  // namespace phidias
