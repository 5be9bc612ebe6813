// phidias_integer.json: what is written reads back bit by bit, and everything else is refused by field. Oracle: the
// values that were written, and float32 values over the whole range of exponents.

#include "model/integer_constants_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "common/file.h"
#include "model/checkpoint.h"
#include "numerics/bits.h"
#include "tests/support/checkpoint_builder.h"

namespace phidias {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing_support::RandomValues;
using testing_support::SmallConfig;
using testing_support::TempDir;
using testing_support::WriteCheckpoint;
using testing_support::WriteText;

std::vector<float> Scales(const std::string& name, int64_t count) {
  std::vector<float> values = RandomValues(7, name, count);
  for (float& value : values) {
    value = std::exp(8.0F * value);
  }
  return values;
}

IntegerConstants Constants(const PhiConfig& config) {
  IntegerConstants constants = {.residual_shift = 9, .final_norm_scale = 0.1F, .lm_head_bits = 16, .layers = {}};
  for (int64_t i = 0; i < config.n_layers; ++i) {
    const std::string name = std::to_string(i);
    constants.layers.push_back({.q_scale = Scales(name + "q", config.n_heads),
                                .k_scale = Scales(name + "k", config.n_kv_heads),
                                .v_scale = Scales(name + "v", config.n_kv_heads),
                                .fc1_scale = 0.3F,
                                .fc1_zero_point = static_cast<int32_t>(i) - 128});
  }
  return constants;
}

void ExpectSame(const IntegerConstants& a, const IntegerConstants& b) {
  EXPECT_EQ(a.residual_shift, b.residual_shift);
  EXPECT_EQ(a.final_norm_scale, b.final_norm_scale);
  EXPECT_EQ(a.lm_head_bits, b.lm_head_bits);
  ASSERT_EQ(a.layers.size(), b.layers.size());
  for (size_t i = 0; i < a.layers.size(); ++i) {
    EXPECT_EQ(a.layers[i].q_scale, b.layers[i].q_scale);
    EXPECT_EQ(a.layers[i].k_scale, b.layers[i].k_scale);
    EXPECT_EQ(a.layers[i].v_scale, b.layers[i].v_scale);
    EXPECT_EQ(a.layers[i].fc1_scale, b.layers[i].fc1_scale);
    EXPECT_EQ(a.layers[i].fc1_zero_point, b.layers[i].fc1_zero_point);
  }
}

PhiConfig GroupedConfig() {
  PhiConfig config = SmallConfig();
  config.n_kv_heads = 2;
  return config;
}

TEST(IntegerConstantsFile, WrittenAndReadBack) {
  const TempDir dir;
  const PhiConfig config = GroupedConfig();
  const IntegerConstants constants = Constants(config);
  const std::string path = dir / kIntegerConstantsFile;
  ASSERT_TRUE(WriteIntegerConstants(path, constants).ok());
  const Result<IntegerConstants> read = ReadIntegerConstants(path, config);
  ASSERT_TRUE(read.ok()) << read.status().message();
  ExpectSame(read.value(), constants);
  EXPECT_THAT(IntegerConstantsText(constants), HasSubstr("\"final_norm_scale\": 0.1,\n"));
}

TEST(IntegerConstantsFile, EveryScaleRoundTrips) {
  PhiConfig config = SmallConfig();
  config.n_layers = 1;
  IntegerConstants constants = Constants(config);
  constants.layers[0].q_scale = {std::numeric_limits<float>::min(), std::numeric_limits<float>::max(), 1.0F, 0x1p-12F};
  uint32_t bits = 0x00800001U;
  for (int i = 0; i < 20000; ++i, bits += 106253U) {  // over all positive normal numbers
    constants.final_norm_scale = numerics::FloatOf(bits);
    ASSERT_TRUE(std::isnormal(constants.final_norm_scale));
    const Result<IntegerConstants> read = ParseIntegerConstants(IntegerConstantsText(constants), "f", config);
    ASSERT_TRUE(read.ok()) << read.status().message();
    ASSERT_EQ(numerics::BitsOf(read.value().final_norm_scale), bits);
    ASSERT_EQ(read.value().layers[0].q_scale, constants.layers[0].q_scale);
  }
}

TEST(IntegerConstantsFile, BesideACheckpoint) {
  const TempDir dir;
  const PhiConfig config = GroupedConfig();
  WriteCheckpoint(dir.path(), config);
  EXPECT_FALSE(OpenCheckpoint(dir.path()).value().integer.has_value());
  ASSERT_TRUE(WriteIntegerConstants(dir / kIntegerConstantsFile, Constants(config)).ok());
  for (const std::string& path : {dir.path(), dir / "model.safetensors"}) {
    const Result<Checkpoint> checkpoint = OpenCheckpoint(path);
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
    ASSERT_TRUE(checkpoint.value().integer.has_value());
    ExpectSame(*checkpoint.value().integer, Constants(config));
  }
  WriteText(dir / kIntegerConstantsFile, "{}");
  EXPECT_EQ(OpenCheckpoint(dir.path()).status().message(), dir / kIntegerConstantsFile + ": field format is missing");
}

// The message after the value at a JSON pointer was replaced.
std::string Message(const std::string& pointer, const json& value) {
  json file = json::parse(IntegerConstantsText(Constants(GroupedConfig())));
  file[json::json_pointer(pointer)] = value;
  return ParseIntegerConstants(file.dump(), "f", GroupedConfig()).status().message();
}

TEST(IntegerConstantsFile, WhatIsWrongIsNamed) {
  EXPECT_EQ(Message("/residual_shift", 20), "");
  EXPECT_EQ(Message("/format", "gguf"), "f: format is \"gguf\"; expected \"phidias-integer\"");
  EXPECT_EQ(Message("/version", 2), "f: version 2 isn't read here; 1 is: quantise the model again");
  EXPECT_EQ(Message("/residual_shift", 21), "f: residual_shift is 21; expected 0 to 20");
  EXPECT_EQ(Message("/residual_shift", -1), "f: residual_shift is -1; expected 0 to 20");
  EXPECT_EQ(Message("/residual_shift", nullptr), "f: field residual_shift is missing");
  EXPECT_EQ(Message("/lm_head_bits", 4), "f: lm_head_bits is 4; expected 8 or 16");
  for (const json& bad : {json(0), json(-1.5), json(1e-40), json(1e39), json("1"), json(true)}) {
    EXPECT_EQ(Message("/final_norm_scale", bad),
              "f: final_norm_scale is " + bad.dump() + "; expected a positive float32 number");
  }
  EXPECT_EQ(Message("/layers/1/q_scale/2", 0), "f: layers[1].q_scale[2] is 0; expected a positive float32 number");
  EXPECT_EQ(Message("/layers/1/fc1_scale", -1), "f: layers[1].fc1_scale is -1; expected a positive float32 number");
  EXPECT_EQ(Message("/layers/0/k_scale", {1, 1, 1}),
            "f: layers[0].k_scale is [1,1,1]; expected a list of 2 numbers, one per head");
  EXPECT_EQ(Message("/layers/0/v_scale", 1), "f: layers[0].v_scale is 1; expected a list of 2 numbers, one per head");
  EXPECT_EQ(Message("/layers/0/fc1_zero_point", 128), "f: layers[0].fc1_zero_point is 128; expected -128 to 127");
  EXPECT_EQ(Message("/layers/0/fc1_zero_point", 0.5), "f: layers[0].fc1_zero_point is 0.5; expected a whole number");
  EXPECT_EQ(Message("/layers/1", 3), "f: layers[1] is 3; expected an object");
  EXPECT_THAT(Message("/layers/2", json::object()), HasSubstr("; expected a list of 2 objects, one per layer"));
  EXPECT_EQ(Message("/layers", {1}), "f: layers is [1]; expected a list of 2 objects, one per layer");
  EXPECT_EQ(Message("/layers/0/shift", 1), "f: field layers[0].\"shift\" is not one of this file's");
  EXPECT_EQ(Message("/extra", 1), "f: field \"extra\" is not one of this file's");
  EXPECT_THAT(ParseIntegerConstants("[", "f", SmallConfig()).status().message(), HasSubstr("f: is not valid JSON"));
  EXPECT_THAT(ReadIntegerConstants("/nowhere/f", SmallConfig()).status().message(), HasSubstr("/nowhere/f"));
}

}  // namespace
}  // namespace phidias
