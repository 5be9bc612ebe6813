// Quantisation against PyTorch: the int8 rows and scales of tiny-phi2-int8, the logits of the demo model with W8A8
// linears and the activation ranges of demo-golden.json, calibration, and what the recipes cost on a model with
// outliers.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "backend/cpu/cpu_backend.h"
#include "model/files/safetensors.h"
#include "model/phi.h"
#include "model/tokenizer/tokenizer.h"
#include "quant/calibration.h"
#include "quant/dataset.h"
#include "quant/perplexity.h"
#include "quant/quantizer.h"
#include "tests/support/goldens.h"
#include "tests/support/outliers.h"

namespace phidias {
namespace {

Checkpoint Open(const std::string& path) {
  Result<Checkpoint> checkpoint = OpenCheckpoint(path);
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  return std::move(*checkpoint);
}

std::unique_ptr<Phi> MakePhi(const Checkpoint& checkpoint) {
  auto shared = std::make_shared<const Checkpoint>(checkpoint);
  auto backend = CreateCpuBackend(ShapeOf(shared->config), {});
  EXPECT_TRUE(backend.ok());
  return *Phi::Create(shared, std::move(*backend));
}

std::vector<float> Logits(Phi& phi, const std::vector<int32_t>& ids) {
  const KvCache cache = *phi.NewKvCache(static_cast<int64_t>(ids.size()));
  std::vector<StepRow> rows;
  for (size_t pos = 0; pos < ids.size(); ++pos) {
    rows.push_back({ids[pos], static_cast<int32_t>(pos), cache.store(), true});
  }
  const auto logits = phi.Step(rows);
  EXPECT_TRUE(logits.ok()) << logits.status().message();
  return {logits->begin(), logits->end()};
}

double RelativeError(const std::vector<float>& got, const std::vector<float>& want) {
  EXPECT_EQ(got.size(), want.size());
  double difference = 0;
  double norm = 0;
  for (size_t i = 0; i < std::min(got.size(), want.size()); ++i) {
    difference += std::pow(static_cast<double>(got[i]) - want[i], 2);
    norm += std::pow(static_cast<double>(want[i]), 2);
  }
  return std::sqrt(difference / norm);
}

const LinearPlan& Find(const QuantPlan& plan, const std::string& name) {
  for (const LinearPlan* linear : plan.Linears()) {
    if (linear->name == name) {
      return *linear;
    }
  }
  ADD_FAILURE() << "no layer " << name;
  return plan.lm_head;
}

TEST(TinyPhi2Int8, WeightsAndScalesArePyTorchs) {
  const Checkpoint source = Open(kGolden + "tiny-phi2");
  const Result<TensorStore> golden = ReadSafetensors(kGolden + "tiny-phi2-int8/model.safetensors");
  const Result<TensorStore> activations = ReadSafetensors(kGolden + "tiny-phi2/golden.safetensors");
  ASSERT_TRUE(golden.ok() && activations.ok());
  const auto phi = MakePhi(source);
  const std::vector<std::vector<int32_t>> rows = {Values<int32_t>(*activations, "input_ids")};
  const auto stats = Calibrate(*phi, rows, {});
  ASSERT_TRUE(stats.ok()) << stats.status().message();
  ThreadPool pool(2);
  const auto plan = MakeQuantPlan(source, &*stats, {}, &pool);
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  const Checkpoint quantized = ApplyQuantPlan(source, *plan, &pool);
  int64_t different = 0;
  int64_t layers = 0;
  for (const auto& [name, tensor] : golden->tensors) {
    if (tensor.dtype != DType::kI8 || !name.ends_with(".weight")) {
      continue;
    }
    ++layers;
    const std::string stem = name.substr(0, name.size() - 7);
    const LinearPlan& linear = Find(*plan, stem);
    EXPECT_EQ(linear.quant.scale, Values<float>(*golden, stem + ".weight_scale")) << stem;
    std::vector<int8_t> q(tensor.bytes);
    QuantizeWeightRows(linear.source, linear.quant, 0, linear.source.matrix.rows, q.data(), &pool);
    const std::vector<int8_t> want = Values<int8_t>(*golden, name);
    for (size_t i = 0; i < q.size(); ++i) {
      ASSERT_LE(std::abs(q[i] - want[i]), 1) << name << " at " << i;
      different += q[i] != want[i] ? 1 : 0;
    }
  }
  EXPECT_EQ(layers, 18);
  EXPECT_EQ(different, 0);  // both divide and round half to even
}

// Statistics that hold nothing but the ranges of demo-golden.json.
CalibrationStats StatsOfRanges(const PhiConfig& config, const nlohmann::json& ranges) {
  CalibrationStats stats = CalibrationStats::ForModel(config, 0);
  for (size_t i = 0; i < stats.layers.size(); ++i) {
    const std::string prefix = "model.layers." + std::to_string(i) + ".";
    const auto add = [&](const char* name, ActivationStats* to) {
      to->histogram.Add(ranges.at(prefix + name).get<std::vector<float>>());
    };
    add("mlp.fc1", &stats.layers[i].norm);
    add("self_attn.dense", &stats.layers[i].dense);
    add("mlp.fc2", &stats.layers[i].fc2);
  }
  return stats;
}

TEST(DemoInt8, LogitsArePyTorchs) {
  const nlohmann::json golden = nlohmann::json::parse(std::ifstream(kGolden + "demo-golden.json"));
  const Result<TensorStore> want = ReadSafetensors(kGolden + "demo-int8-logits.safetensors");
  const Result<TensorStore> floats = ReadSafetensors(kGolden + "demo-logits.safetensors");
  ASSERT_TRUE(want.ok() && floats.ok());
  const Checkpoint source = Open(kDemo);
  const CalibrationStats stats = StatsOfRanges(source.config, golden["activation_ranges"]);
  ThreadPool pool(2);
  const auto quantized = QuantizeModel(source, &stats, {}, &pool);
  ASSERT_TRUE(quantized.ok()) << quantized.status().message();
  for (size_t i = 0; i < quantized->weights.layers.size(); ++i) {
    const PhiLayerWeights& layer = quantized->weights.layers[i];
    for (const LinearWeights* linear :
         {&layer.q_proj, &layer.k_proj, &layer.v_proj, &layer.dense, &layer.fc1, &layer.fc2}) {
      const auto range = golden["activation_ranges"][linear->name].get<std::vector<double>>();
      const double scale = (range[1] - range[0]) / 255;
      EXPECT_NEAR(linear->input.scale, scale, 1e-4 * scale) << linear->name;
      EXPECT_EQ(linear->input.zero_point, static_cast<int32_t>(std::nearbyint(-128 - range[0] / scale)));
    }
  }
  const auto phi = MakePhi(*quantized);
  int exact = 0;
  for (size_t i = 0; i < golden["prompts"].size(); ++i) {
    const auto ids = golden["prompts"][i]["prompt_ids"].get<std::vector<int32_t>>();
    const std::string name = "logits." + std::to_string(i);
    const std::vector<float> logits = Logits(*phi, ids);
    const double error = RelativeError(logits, Values<float>(*want, name));
    // PyTorch divides inputs by their scale, the contract multiplies by its reciprocal (docs/numerics.md): now and then
    // an input lands on the other side of a rounding border, and what follows is another rounding of the same model.
    // Its distance from PyTorch's is then that of the quantised model from the float one, and no more.
    const double noise = RelativeError(Values<float>(*want, name), Values<float>(*floats, name));
    EXPECT_LT(error, noise) << name;
    exact += error < 1e-6 ? 1 : 0;
  }
  EXPECT_GE(exact, 4) << "of 6 prompts without such a border case";
}

Dataset Rows(const Tokenizer& tokenizer, const std::string& name) {
  auto rows = LoadDataset(tokenizer, std::string(PHIDIAS_SOURCE_DIR) + "/tests/data/" + name, {});
  EXPECT_TRUE(rows.ok()) << rows.status().message();
  return std::move(*rows);
}

// The golden ranges are those of 1024 rows; 32 of these rows reach nearly as far, and no further.
TEST(DemoCalibration, RangesAreWithinTheGoldenOnes) {
  const nlohmann::json golden = nlohmann::json::parse(std::ifstream(kGolden + "demo-golden.json"));
  const auto phi = MakePhi(Open(kDemo));
  const auto tokenizer = Tokenizer::Load(kDemo);
  ASSERT_TRUE(tokenizer.ok());
  const auto stats = Calibrate(*phi, Rows(*tokenizer, "calib32.jsonl").rows, {});
  ASSERT_TRUE(stats.ok()) << stats.status().message();
  for (size_t i = 0; i < stats->layers.size(); ++i) {
    const std::string prefix = "model.layers." + std::to_string(i) + ".";
    const auto check = [&](const char* name, const Histogram& seen) {
      const auto range = golden["activation_ranges"][prefix + name].get<std::vector<double>>();
      const double width = range[1] - range[0];
      EXPECT_GT(seen.min(), range[0] - 1e-5 * width) << prefix + name;
      EXPECT_LT(seen.max(), range[1] + 1e-5 * width) << prefix + name;
      EXPECT_GT(static_cast<double>(seen.max()) - seen.min(), 0.6 * width) << prefix + name;
    };
    check("mlp.fc1", stats->layers[i].norm.histogram);
    check("self_attn.dense", stats->layers[i].dense.histogram);
    check("mlp.fc2", stats->layers[i].fc2.histogram);
  }
}

// models/demo with outliers, by this project's own draws: what static activations cost, and what `best` leaves of it.
TEST(DemoOutliers, TheBestRecipeRepairsWhatPlainStaticActivationsBreak) {
  const auto tokenizer = Tokenizer::Load(kDemo);
  ASSERT_TRUE(tokenizer.ok());
  const Dataset calibration = Rows(*tokenizer, "calib32.jsonl");
  const Dataset evaluation = Rows(*tokenizer, "eval16.jsonl");
  const auto score = [&](const Checkpoint& checkpoint) {
    const auto result = Perplexity(*MakePhi(checkpoint), WholeRows(evaluation), {});
    EXPECT_TRUE(result.ok()) << result.status().message();
    return result->rows;
  };
  const std::vector<RowScore> floats = score(Open(kDemo));
  for (const uint64_t seed : {7, 8}) {
    const Checkpoint source = testing_support::InjectOutliers(Open(kDemo), {.seed = seed});
    // The function is the same up to float32's rounding; NLL is a smooth function of the logits.
    EXPECT_NEAR(CompareScores(floats, score(source)).relative, 0, 1e-5);
    const auto stats = Calibrate(*MakePhi(source), calibration.rows, {.sample_tokens = 128});
    ASSERT_TRUE(stats.ok()) << stats.status().message();
    ThreadPool pool(2);
    const auto change = [&](const QuantScheme& scheme) {
      const auto quantized = QuantizeModel(source, &*stats, scheme, &pool);
      EXPECT_TRUE(quantized.ok()) << quantized.status().message();
      return CompareScores(floats, score(*quantized)).relative;
    };
    EXPECT_GT(change({}), 0.25) << "seed " << seed;
    QuantScheme best = *PresetScheme("best");
    EXPECT_LT(change(best), 0.01) << "seed " << seed;
    best.activations = RangeKind::kDynamic;
    EXPECT_LT(change(best), 0.01) << "seed " << seed;
  }
}

}  // namespace
}  // namespace phidias
