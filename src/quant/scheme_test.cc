// What the command line may say about a scheme, and what it may not.
#include "quant/scheme.h"

#include <gtest/gtest.h>

namespace phidias {
namespace {

TEST(Scheme, NamesReadBack) {
  for (const char* name : {"none", "symmetric", "asymmetric", "percentile", "mse"}) {
    EXPECT_EQ(RangeKindName(*ParseWeightKind(name)), name);
    EXPECT_EQ(RangeKindName(*ParseActivationKind(name)), name);
  }
  EXPECT_EQ(*ParseActivationKind("dynamic"), RangeKind::kDynamic);
  for (const char* name : {"tensor", "channel"}) {
    EXPECT_EQ(GranularityName(*ParseGranularity(name)), name);
  }
  for (const char* name : {"float", "int8", "int16"}) {
    EXPECT_EQ(LmHeadName(*ParseLmHead(name)), name);
  }
}

TEST(Scheme, WrongNamesAreAnsweredWithThePossibleOnes) {
  EXPECT_EQ(ParseWeightKind("dynamic").status().message(),
            "--weights \"dynamic\": must be one of none, symmetric, asymmetric, percentile, mse, gptq");
  EXPECT_EQ(ParseActivationKind("").status().message(),
            "--activations \"\": must be one of none, symmetric, asymmetric, percentile, mse, dynamic");
  EXPECT_EQ(ParseGranularity("row").status().message(), "--granularity \"row\": must be one of tensor, channel");
  EXPECT_EQ(ParseLmHead("int4").status().message(), "--lm-head \"int4\": must be one of float, int8, int16");
  EXPECT_EQ(PresetScheme("good").status().message(), "--recipe \"good\": must be one of report, best, best4");
}

TEST(Scheme, SmoothingIsNoneAutoOrANumber) {
  QuantScheme scheme;
  ASSERT_TRUE(ParseSmoothing("auto", &scheme).ok());
  EXPECT_EQ(scheme.smoothing, Smoothing::kAuto);
  ASSERT_TRUE(ParseSmoothing("0.65", &scheme).ok());
  EXPECT_EQ(scheme.smoothing, Smoothing::kFixed);
  EXPECT_EQ(scheme.alpha, 0.65);
  ASSERT_TRUE(ParseSmoothing("none", &scheme).ok());
  EXPECT_EQ(scheme.smoothing, Smoothing::kNone);
  for (const char* bad : {"", "1.5", "-0.1", "nan", "0.5x", "on"}) {
    const Status status = ParseSmoothing(bad, &scheme);
    EXPECT_NE(status.message().find("must be none, auto, or a number from 0 to 1"), std::string::npos) << bad;
  }
}

TEST(Scheme, PresetsAreValidAndDescribed) {
  const auto report = PresetScheme("report");
  ASSERT_TRUE(report.ok() && ValidateScheme(*report).ok());
  EXPECT_EQ(DescribeScheme(*report), "weights symmetric per tensor, activations asymmetric");
  const auto best = PresetScheme("best");
  ASSERT_TRUE(best.ok() && ValidateScheme(*best).ok());
  EXPECT_EQ(DescribeScheme(*best), "weights symmetric per channel, activations mse, smooth auto");
  EXPECT_TRUE(best->NeedsCalibration());
  QuantScheme dynamic;
  dynamic.activations = RangeKind::kDynamic;
  EXPECT_FALSE(dynamic.NeedsCalibration());
}

TEST(Scheme, RefusesWhatCannotBe) {
  QuantScheme scheme;
  scheme.weights = RangeKind::kDynamic;
  EXPECT_NE(ValidateScheme(scheme).message().find("--weights dynamic"), std::string::npos);
  for (const double percentile : {50.0, 100.5, -1.0}) {
    scheme = {};
    scheme.percentile = percentile;
    EXPECT_NE(ValidateScheme(scheme).message().find("--percentile"), std::string::npos);
  }
  scheme = {};
  scheme.integer = true;
  EXPECT_TRUE(ValidateScheme(scheme).ok());
  scheme.activations = RangeKind::kDynamic;
  EXPECT_NE(ValidateScheme(scheme).message().find("needs int8 weights and static activations"), std::string::npos);
  scheme.activations = RangeKind::kAsymmetric;
  scheme.skip = {"*.fc2"};
  EXPECT_NE(ValidateScheme(scheme).message().find("leave out --skip"), std::string::npos);
  scheme.skip.clear();
  scheme.weights = RangeKind::kAsymmetric;
  EXPECT_NE(ValidateScheme(scheme).message().find("leave out --weights asymmetric"), std::string::npos);
}

}  // namespace
}  // namespace phidias
