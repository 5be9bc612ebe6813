// The plan and the in-memory quantiser: smoothing changes nothing but the ranges, shared inputs share their scales,
// skipped layers stay float, outliers cost what they cost without smoothing and little with it, and each bad input is
// named. Odd shapes: grouped heads, sizes that are no multiple of 16, bfloat16.
#include "quant/quantizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>

#include "model/phi.h"
#include "quant/calibration.h"
#include "tests/support/checkpoint_builder.h"
#include "tests/support/outliers.h"
#include "tests/support/quant_test_util.h"

namespace phidias {
namespace {

using testing_support::BuildTensors;
using testing_support::CheckpointOptions;
using testing_support::GroupedConfig;
using testing_support::InjectOutliers;
using testing_support::MakeStore;
using testing_support::RelativeError;
using testing_support::SmallConfig;

Checkpoint Build(const PhiConfig& config, const CheckpointOptions& options = {}) {
  Checkpoint checkpoint;
  checkpoint.path = "built";
  checkpoint.config = config;
  checkpoint.store = MakeStore(BuildTensors(config, options));
  Result<PhiWeights> weights = BindPhiWeights(config, checkpoint.store, "built");
  EXPECT_TRUE(weights.ok()) << weights.status().message();
  checkpoint.weights = std::move(*weights);
  return checkpoint;
}

std::unique_ptr<Phi> MakePhi(const Checkpoint& checkpoint) {
  return PhiOf(std::make_shared<const Checkpoint>(checkpoint), 2);
}

std::vector<std::vector<int32_t>> Rows() {
  std::vector<std::vector<int32_t>> rows(8);
  for (size_t i = 0; i < rows.size(); ++i) {
    for (size_t j = 0; j < 40; ++j) {
      rows[i].push_back(static_cast<int32_t>((i * 31 + j * j * 5 + j) % 96));
    }
  }
  return rows;
}

CalibrationStats Stats(const Checkpoint& checkpoint) {
  const auto phi = MakePhi(checkpoint);
  const auto stats = Calibrate(*phi, Rows(), {.sample_tokens = 64});
  EXPECT_TRUE(stats.ok()) << stats.status().message();
  return *stats;
}

std::vector<float> Logits(const Checkpoint& checkpoint) {
  return LogitsOfRows(*MakePhi(checkpoint), Rows());
}

QuantPlan Plan(const Checkpoint& source, const CalibrationStats* stats, const QuantScheme& scheme) {
  ThreadPool pool(2);
  Result<QuantPlan> plan = MakeQuantPlan(source, stats, scheme, &pool);
  EXPECT_TRUE(plan.ok()) << plan.status().message();
  return plan.ok() ? std::move(*plan) : QuantPlan();
}

Checkpoint Apply(const Checkpoint& source, const QuantPlan& plan) {
  ThreadPool pool(2);
  return ApplyQuantPlan(source, plan, &pool);
}

std::string Refused(const Checkpoint& source, const CalibrationStats* stats, const QuantScheme& scheme) {
  ThreadPool pool(1);
  return MakeQuantPlan(source, stats, scheme, &pool).status().message();
}

// A float model of L layers with sums of K products: see tests/golden_model_test.cc.
double FloatTolerance() {
  return 2 * 6 * 3 * std::sqrt(75.0) * std::ldexp(1.0, -24);
}

TEST(QuantPlan, StopsBetweenLayersOnRequest) {
  const Checkpoint source = Build(GroupedConfig());
  ThreadPool pool(1);
  std::atomic<bool> cancel{false};
  int64_t layers = 0;
  const QuantProgress stop = [&](int64_t done, int64_t /*total*/) {
    layers = done;
    cancel = true;
  };
  QuantScheme scheme;
  scheme.activations = RangeKind::kNone;
  EXPECT_EQ(MakeQuantPlan(source, nullptr, scheme, &pool, {.progress = stop, .cancel = &cancel, .state_path = {}})
                .status()
                .code(),
            StatusCode::kCancelled);
  EXPECT_EQ(layers, 1);
}

TEST(Outliers, LeaveTheFunctionAlone) {
  for (const CheckpointOptions& options : {CheckpointOptions{}, CheckpointOptions{.dtype = DType::kBF16}}) {
    const Checkpoint source = Build(GroupedConfig(), options);
    const Checkpoint hard = InjectOutliers(source, {.seed = 3});
    EXPECT_LT(RelativeError(Logits(hard), Logits(source)), FloatTolerance());
    EXPECT_GT(Stats(hard).layers[1].norm.histogram.absmax(), 10 * Stats(source).layers[1].norm.histogram.absmax());
    EXPECT_EQ(Logits(InjectOutliers(source, {.seed = 3})), Logits(hard));
    EXPECT_NE(InjectOutliers(source, {.seed = 4}).weights.layers[0].input_layernorm.weight,
              hard.weights.layers[0].input_layernorm.weight);
  }
}

TEST(QuantPlan, SmoothingAloneLeavesTheFunctionAlone) {
  const Checkpoint source = InjectOutliers(Build(GroupedConfig(), {.dtype = DType::kF16}));
  const CalibrationStats stats = Stats(source);
  QuantScheme scheme;
  scheme.weights = RangeKind::kNone;
  scheme.activations = RangeKind::kNone;
  scheme.smoothing = Smoothing::kFixed;
  const QuantPlan plan = Plan(source, &stats, scheme);
  EXPECT_EQ(plan.layers[0].norm_alpha, 0.5);
  EXPECT_EQ(plan.layers[0].dense_alpha, 0.5);
  const Checkpoint smooth = Apply(source, plan);
  EXPECT_LT(RelativeError(Logits(smooth), Logits(source)), FloatTolerance());
  // The statistics that the plan derives are those that the smoothed model shows.
  const CalibrationStats after = Stats(smooth);
  EXPECT_LT(after.layers[0].norm.histogram.absmax(), stats.layers[0].norm.histogram.absmax() / 3);
  scheme.activations = RangeKind::kAsymmetric;
  const QuantPlan with_inputs = Plan(source, &stats, scheme);
  for (size_t i = 0; i < 2; ++i) {
    const auto& norm = after.layers[i].norm.histogram;
    EXPECT_NEAR(with_inputs.layers[i].fc1.input.scale, (norm.max() - norm.min()) / 255, 1e-5 * norm.absmax());
    const auto& dense = after.layers[i].dense.histogram;
    EXPECT_NEAR(with_inputs.layers[i].dense.input.scale, (dense.max() - dense.min()) / 255, 1e-5 * dense.absmax());
  }
}

TEST(QuantPlan, FactorsOfSharedHeadsAreShared) {
  const Checkpoint source = InjectOutliers(Build(GroupedConfig()));
  const CalibrationStats stats = Stats(source);
  QuantScheme scheme;
  scheme.smoothing = Smoothing::kFixed;
  const LayerPlan layer = Plan(source, &stats, scheme).layers[1];
  const std::vector<float>& dense = layer.dense.source.column_factor;
  const std::vector<float>& values = layer.v_proj.source.row_factor;
  ASSERT_EQ(dense.size(), 42U);
  ASSERT_EQ(values.size(), 14U);
  for (size_t h = 0; h < 6; ++h) {
    for (size_t d = 0; d < 7; ++d) {
      EXPECT_EQ(1.0F / dense[h * 7 + d], values[h / 3 * 7 + d]);
    }
  }
}

TEST(QuantPlan, WhatReadsTheLayerNormSharesItsScale) {
  const Checkpoint source = Build(GroupedConfig());
  const CalibrationStats stats = Stats(source);
  for (const RangeKind kind :
       {RangeKind::kSymmetric, RangeKind::kAsymmetric, RangeKind::kPercentile, RangeKind::kMse, RangeKind::kDynamic}) {
    QuantScheme scheme;
    scheme.activations = kind;
    const QuantPlan plan = Plan(source, &stats, scheme);
    const LayerPlan& layer = plan.layers[0];
    EXPECT_EQ(layer.q_proj.input, layer.k_proj.input);
    EXPECT_EQ(layer.q_proj.input, layer.v_proj.input);
    EXPECT_EQ(layer.q_proj.input, layer.fc1.input);
    EXPECT_EQ(layer.q_proj.input.kind,
              kind == RangeKind::kDynamic ? InputQuant::Kind::kDynamic : InputQuant::Kind::kStatic);
    EXPECT_FALSE(plan.lm_head.quantize);
    EXPECT_EQ(plan.lm_head.input, InputQuant());
    // All are near the float model: nothing here has outliers.
    EXPECT_LT(RelativeError(Logits(Apply(source, plan)), Logits(source)), 0.06) << RangeKindName(kind);
  }
}

TEST(QuantPlan, EveryKindOfWeightIsNearTheFloatModel) {
  for (const CheckpointOptions& options : {CheckpointOptions{}, CheckpointOptions{.dtype = DType::kBF16}}) {
    const Checkpoint source = Build(GroupedConfig(), options);
    for (const RangeKind kind :
         {RangeKind::kSymmetric, RangeKind::kAsymmetric, RangeKind::kPercentile, RangeKind::kMse}) {
      for (const Granularity granularity : {Granularity::kTensor, Granularity::kChannel}) {
        QuantScheme scheme;
        scheme.weights = kind;
        scheme.granularity = granularity;
        scheme.activations = RangeKind::kNone;
        const Checkpoint quantized = Apply(source, Plan(source, nullptr, scheme));
        EXPECT_EQ(quantized.weights.layers[1].fc2.weight.dtype, DType::kI8);
        const double error = RelativeError(Logits(quantized), Logits(source));
        EXPECT_LT(error, 0.03) << DescribeScheme(scheme);
        EXPECT_GT(error, 0) << DescribeScheme(scheme);
      }
    }
  }
}

TEST(QuantPlan, SmoothingRepairsWhatOutliersBreak) {
  const Checkpoint source = InjectOutliers(Build(SmallConfig()));
  const CalibrationStats stats = Stats(source);
  const std::vector<float> want = Logits(source);
  QuantScheme scheme;
  const double plain = RelativeError(Logits(Apply(source, Plan(source, &stats, scheme))), want);
  for (const RangeKind kind : {RangeKind::kAsymmetric, RangeKind::kDynamic}) {
    scheme.activations = kind;
    scheme.smoothing = Smoothing::kFixed;
    const double fixed = RelativeError(Logits(Apply(source, Plan(source, &stats, scheme))), want);
    scheme.smoothing = Smoothing::kAuto;
    const QuantPlan plan = Plan(source, &stats, scheme);
    const double searched = RelativeError(Logits(Apply(source, plan)), want);
    EXPECT_TRUE(plan.layers[0].norm_alpha.has_value());
    EXPECT_LT(fixed, plain / 3) << RangeKindName(kind);
    EXPECT_LT(searched, plain / 3) << RangeKindName(kind);
  }
}

// What layers.0's product `name` makes of 40 tokens.
std::vector<float> FirstLayersProduct(const Checkpoint& checkpoint, const std::string& name) {
  const auto phi = MakePhi(checkpoint);
  const KvCache cache = *phi->NewKvCache(40);
  std::vector<StepRow> rows;
  const std::vector<int32_t> ids = Rows().front();
  for (const int32_t id : ids) {
    rows.push_back({id, static_cast<int32_t>(rows.size()), cache.store(), true});
  }
  std::vector<float> out;
  StepOptions options;
  options.trace = [&](const std::string& traced, int64_t /*cols*/, std::span<const float> values) {
    if (traced == "layers.0." + name + ".out") {
      out.assign(values.begin(), values.end());
    }
  };
  EXPECT_TRUE(phi->Step(rows, options).ok());
  EXPECT_FALSE(out.empty());
  return out;
}

// The CPU computes q, k and v together. Each keeps to its own way of quantising the input that they share, of which
// other programs' files may have several.
TEST(QuantPlan, ProductsOfOneInputMayQuantizeItInTwoWays) {
  const Checkpoint source = Build(GroupedConfig());
  const CalibrationStats stats = Stats(source);
  for (const int64_t bits : {8, 4}) {
    QuantScheme scheme = bits == 8 ? QuantScheme() : *PresetScheme("best4");
    scheme.weights = bits == 8 ? scheme.weights : RangeKind::kMse;
    QuantPlan plan = Plan(source, &stats, scheme);
    const Checkpoint same = Apply(source, plan);
    plan.layers[0].k_proj.input.scale *= 1.5F;
    const Checkpoint other = Apply(source, plan);
    for (const char* name : {"self_attn.q_proj", "self_attn.v_proj"}) {
      EXPECT_EQ(FirstLayersProduct(other, name), FirstLayersProduct(same, name)) << name << ", " << bits << " bits";
    }
    EXPECT_NE(FirstLayersProduct(other, "self_attn.k_proj"), FirstLayersProduct(same, "self_attn.k_proj"));
  }
}

TEST(QuantPlan, SkippedLayersStayFloat) {
  const Checkpoint source = InjectOutliers(Build(GroupedConfig()));
  const CalibrationStats stats = Stats(source);
  QuantScheme scheme;
  scheme.smoothing = Smoothing::kFixed;
  scheme.skip = {"model.layers.0.*", "fc2", "re:.*1.self_attn.v"};
  const QuantPlan plan = Plan(source, &stats, scheme);
  EXPECT_EQ(plan.skipped,
            (std::vector<std::string>{"model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.k_proj",
                                      "model.layers.0.self_attn.v_proj", "model.layers.0.self_attn.dense",
                                      "model.layers.0.mlp.fc1", "model.layers.0.mlp.fc2",
                                      "model.layers.1.self_attn.v_proj", "model.layers.1.mlp.fc2"}));
  EXPECT_FALSE(plan.layers[0].norm_alpha || plan.layers[0].dense_alpha) << "nothing to smooth for";
  const Checkpoint quantized = Apply(source, plan);
  const PhiLayerWeights& layer = quantized.weights.layers[1];
  EXPECT_EQ(layer.v_proj.weight.dtype, DType::kF32);  // not quantised, but smoothed with its neighbours
  EXPECT_EQ(layer.v_proj.input, InputQuant());
  EXPECT_EQ(layer.q_proj.weight.dtype, DType::kI8);
  EXPECT_EQ(layer.fc2.weight.data, source.weights.layers[1].fc2.weight.data);
  EXPECT_LT(RelativeError(Logits(quantized), Logits(source)), 0.05);
}

TEST(QuantPlan, LmHeadIsLeftAloneUnlessAskedFor) {
  const Checkpoint source = Build(GroupedConfig());
  const CalibrationStats stats = Stats(source);
  QuantScheme scheme;
  scheme.lm_head = LmHead::kInt8;
  const QuantPlan plan = Plan(source, &stats, scheme);
  EXPECT_TRUE(plan.lm_head.quantize);
  EXPECT_EQ(plan.lm_head.input.kind, InputQuant::Kind::kStatic);
  EXPECT_LT(RelativeError(Logits(Apply(source, plan)), Logits(source)), 0.06);
}

TEST(QuantPlan, IntegerConstantsCoverWhatCalibrationSaw) {
  const Checkpoint source = InjectOutliers(Build(GroupedConfig()));
  const CalibrationStats stats = Stats(source);
  QuantScheme scheme;
  scheme.integer = true;
  scheme.lm_head = LmHead::kInt16;
  scheme.smoothing = Smoothing::kFixed;
  const QuantPlan plan = Plan(source, &stats, scheme);
  ASSERT_TRUE(plan.integer.has_value());
  const IntegerConstants& c = *plan.integer;
  EXPECT_EQ(c.lm_head_bits, 16);
  EXPECT_LE(std::ldexp(stats.residual_absmax, c.residual_shift), 262144.0F);
  EXPECT_TRUE(c.residual_shift == 16 || std::ldexp(stats.residual_absmax, c.residual_shift + 1) > 262144.0F);
  ASSERT_EQ(c.layers.size(), 2U);
  EXPECT_EQ(c.layers[0].q_scale.size(), 6U);
  EXPECT_EQ(c.layers[0].k_scale.size(), 2U);
  EXPECT_EQ(c.layers[0].v_scale.size(), 2U);
  EXPECT_EQ(c.layers[0].q_scale[2], stats.layers[0].q_absmax[2] / 127.0F);
  EXPECT_GE(c.final_norm_scale * 32767, stats.final_norm.histogram.absmax());
  const Histogram& fc1 = stats.layers[1].fc1_out;
  EXPECT_FLOAT_EQ(c.layers[1].fc1_scale, (fc1.max() - fc1.min()) / 255);
  // The values that the smoothed model makes.
  const CalibrationStats after = Stats(Apply(source, [&] {
    QuantScheme floats = scheme;
    floats.integer = false;
    floats.weights = floats.activations = RangeKind::kNone;
    return Plan(source, &stats, floats);
  }()));
  for (size_t h = 0; h < 2; ++h) {
    const auto begin = after.layers[1].v_absmax.begin() + static_cast<ptrdiff_t>(7 * h);
    EXPECT_NEAR(c.layers[1].v_scale[h] * 127, *std::max_element(begin, begin + 7),
                1e-4 * *std::max_element(begin, begin + 7));
  }
  EXPECT_EQ(Apply(source, plan).integer.has_value(), true);
}

TEST(QuantPlan, AConstantInputHasTheLeastScale) {
  auto tensors = BuildTensors(SmallConfig());
  for (const char* name : {"model.layers.0.input_layernorm.weight", "model.layers.0.input_layernorm.bias"}) {
    auto& bytes = tensors.at(name).bytes;
    std::fill(bytes.begin(), bytes.end(), std::byte{0});
  }
  Checkpoint source;
  source.config = SmallConfig();
  source.store = MakeStore(tensors);
  source.weights = *BindPhiWeights(source.config, source.store, "built");
  const CalibrationStats stats = Stats(source);
  for (const Smoothing smoothing : {Smoothing::kNone, Smoothing::kFixed, Smoothing::kAuto}) {
    for (const RangeKind kind :
         {RangeKind::kSymmetric, RangeKind::kAsymmetric, RangeKind::kPercentile, RangeKind::kMse}) {
      QuantScheme scheme;
      scheme.smoothing = smoothing;
      scheme.activations = kind;
      const QuantPlan plan = Plan(source, &stats, scheme);
      EXPECT_EQ(plan.layers[0].fc1.input.scale, 1.1920928955078125e-07F);
      EXPECT_LT(RelativeError(Logits(Apply(source, plan)), Logits(source)), 0.06);
    }
  }
}

TEST(QuantPlan, RefusesWhatCannotBeQuantised) {
  const Checkpoint source = Build(GroupedConfig());
  const CalibrationStats stats = Stats(source);
  QuantScheme scheme;
  EXPECT_NE(Refused(source, nullptr, scheme).find("needs calibration: pass --calibration"), std::string::npos);
  const Checkpoint other = Build(SmallConfig());
  EXPECT_EQ(Refused(other, &stats, scheme), "built: the calibration statistics are of a model of another shape");
  const Checkpoint quantized = Apply(source, Plan(source, &stats, scheme));
  EXPECT_NE(Refused(quantized, &stats, scheme).find("built: is quantised already (model.layers.0.self_attn.q_proj)"),
            std::string::npos);
  scheme.skip = {"fc3"};
  EXPECT_NE(Refused(source, &stats, scheme).find("--skip \"fc3\": matches no linear layer"), std::string::npos);
  scheme.skip = {"re:("};
  EXPECT_FALSE(Refused(source, &stats, scheme).empty());
  scheme.skip.clear();
  scheme.smoothing = Smoothing::kAuto;
  CalibrationStats no_samples = stats;
  no_samples.samples.clear();
  EXPECT_NE(Refused(source, &no_samples, scheme).find("kept sampled tokens"), std::string::npos);
  auto tensors = BuildTensors(GroupedConfig());
  const float nan = std::nanf("");
  std::memcpy(tensors.at("model.layers.1.mlp.fc2.weight").bytes.data() + 4 * 80, &nan, sizeof nan);
  Checkpoint broken = source;
  broken.store = MakeStore(tensors);
  broken.weights = *BindPhiWeights(broken.config, broken.store, "built");
  scheme.smoothing = Smoothing::kNone;
  EXPECT_NE(Refused(broken, &stats, scheme).find("tensor \"model.layers.1.mlp.fc2.weight\": element [1, 5] is nan"),
            std::string::npos)
      << Refused(broken, &stats, scheme);
}

}  // namespace
}  // namespace phidias
