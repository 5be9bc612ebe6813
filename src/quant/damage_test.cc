// Where it hurts: errors of outputs against those from traces of models quantised by hand, perplexities against the
// model with everything else skipped.
#include "quant/damage.h"

#include <gmock/gmock.h>

#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "quant/calibration.h"
#include "quant/damage_report.h"
#include "quant/quantizer.h"
#include "tests/support/quant_test_util.h"
#include "tests/support/thread_ranks.h"

namespace phidias {
namespace {

using ::testing::HasSubstr;

struct Model {
  std::shared_ptr<const Checkpoint> checkpoint = OpenShared(kTinyModel);
  std::vector<std::vector<int32_t>> ids = RandomRows(5);
  std::vector<ScoredRow> rows;
  CalibrationStats stats;
  ThreadPool pool{1};

  Model() {
    for (const auto& row : ids) {
      rows.push_back({.ids = row});
    }
    CalibrationOptions options;
    options.sample_tokens = 32;
    stats = *Calibrate(*PhiOf(checkpoint), RandomRows(5, 2), options);
  }
  QuantPlan Plan(const QuantScheme& scheme) {
    auto plan = MakeQuantPlan(*checkpoint, &stats, scheme, &pool);
    EXPECT_TRUE(plan.ok()) << plan.status().message();
    return *std::move(plan);
  }
  DamageResult Measure(const QuantScheme& scheme, const DamageOptions& options = {}) {
    const QuantPlan plan = Plan(scheme);
    auto result = MeasureDamage(*checkpoint, plan, ids, rows, options);
    EXPECT_TRUE(result.ok()) << result.status().message();
    return *std::move(result);
  }
};

using Trace = std::map<std::string, std::vector<float>>;

Trace TraceOf(Phi& phi, const std::vector<int32_t>& ids) {
  const KvCache cache = *phi.NewKvCache(static_cast<int64_t>(ids.size()));
  std::vector<StepRow> step;
  for (size_t pos = 0; pos < ids.size(); ++pos) {
    step.push_back({ids[pos], static_cast<int32_t>(pos), cache.store(), false});
  }
  Trace trace;
  StepOptions options;
  options.trace = [&](const std::string& name, int64_t, std::span<const float> values) {
    trace[name].assign(values.begin(), values.end());
  };
  EXPECT_TRUE(phi.Step(step, options).ok());
  return trace;
}

// Every linear layer but `name` is left in float.
QuantScheme Only(QuantScheme scheme, const QuantPlan& plan, const std::string& name) {
  for (const LinearPlan* linear : plan.Linears()) {
    if (linear->name != name && linear->name != "lm_head") {
      scheme.skip.push_back(linear->name);
    }
  }
  return scheme;
}

TEST(Damage, ErrorsAreThoseOfTheLayerQuantisedAlone) {
  Model model;
  const QuantScheme scheme;
  DamageOptions options;
  options.unit = DamageUnit::kLinear;
  const DamageResult result = model.Measure(scheme, options);
  const QuantPlan plan = model.Plan(scheme);
  ASSERT_EQ(result.linears.size(), 3 * 6 + 1U);
  ASSERT_EQ(result.alone.size(), 3 * 6U);  // lm_head stays in float
  EXPECT_FALSE(result.linears.back().quantised);
  const auto plain = PhiOf(model.checkpoint);
  for (size_t i = 0; i < result.alone.size(); ++i) {
    const LinearDamage& linear = result.linears[i];
    SCOPED_TRACE(linear.name);
    auto one = QuantizeModel(*model.checkpoint, &model.stats, Only(scheme, plan, linear.name), &model.pool);
    ASSERT_TRUE(one.ok()) << one.status().message();
    const auto phi = PhiOf(std::make_shared<const Checkpoint>(*std::move(one)));
    // "model.layers.0.mlp.fc1" -> "layers.0.mlp.fc1.out". Up to this layer both models compute the same.
    const std::string name = linear.name.substr(std::string("model.").size()) + ".out";
    double signal = 0;
    double noise = 0;
    for (const auto& ids : model.ids) {
      const std::vector<float> y = TraceOf(*plain, ids).at(name);
      const std::vector<float> other = TraceOf(*phi, ids).at(name);
      for (size_t k = 0; k < y.size(); ++k) {
        signal += static_cast<double>(y[k]) * y[k];
        noise += std::pow(static_cast<double>(y[k]) - other[k], 2);
      }
    }
    EXPECT_NEAR(linear.error.SqnrDecibels(), 10 * std::log10(signal / noise), 1e-6);
    EXPECT_GT(linear.error.Cosine(), 0.99);
    EXPECT_LT(linear.error.Cosine(), 1);
    EXPECT_EQ(result.alone[i].name, linear.name);
    EXPECT_EQ(result.alone[i].perplexity, Perplexity(*phi, model.rows, {})->perplexity);
  }
  auto all = QuantizeModel(*model.checkpoint, &model.stats, scheme, &model.pool);
  const auto phi = PhiOf(std::make_shared<const Checkpoint>(*std::move(all)));
  EXPECT_EQ(result.quantised_perplexity, Perplexity(*phi, model.rows, {})->perplexity);
  EXPECT_EQ(result.float_perplexity, Perplexity(*plain, model.rows, {})->perplexity);
}

TEST(Damage, GroupsLayersAndLeavesSkippedOnesOut) {
  Model model;
  QuantScheme scheme;
  scheme.skip = {"model.layers.1.*", "model.layers.0.mlp.fc2"};
  const DamageResult result = model.Measure(scheme);
  ASSERT_EQ(result.alone.size(), 2U);
  EXPECT_EQ(result.alone[0].name, "model.layers.0");
  EXPECT_EQ(result.alone[1].name, "model.layers.2");
  for (const LinearDamage& linear : result.linears) {
    const bool skipped =
        linear.name.starts_with("model.layers.1") || linear.name.ends_with("0.mlp.fc2") || linear.name == "lm_head";
    EXPECT_EQ(linear.quantised, !skipped) << linear.name;
    EXPECT_EQ(linear.error.signal > 0, !skipped) << linear.name;
  }
}

TEST(Damage, ComparesWithTheSmoothedModelInFloat) {
  Model model;
  QuantScheme scheme;
  scheme.smoothing = Smoothing::kFixed;
  DamageOptions options;
  options.unit = DamageUnit::kNone;
  const DamageResult result = model.Measure(scheme, options);
  // Smoothing changes the function by rounding alone.
  const double plain = Perplexity(*PhiOf(model.checkpoint), model.rows, {})->perplexity;
  EXPECT_NEAR(result.float_perplexity / plain, 1, 1e-5);
  EXPECT_TRUE(result.alone.empty());
  EXPECT_GT(result.linears[0].error.SqnrDecibels(), 20);
}

TEST(Damage, CoversLmHead) {
  Model model;
  QuantScheme scheme;
  scheme.lm_head = LmHead::kInt8;
  const DamageResult result = model.Measure(scheme);
  EXPECT_TRUE(result.linears.back().quantised);
  EXPECT_GT(result.linears.back().error.SqnrDecibels(), 15);
  EXPECT_EQ(result.alone.back().name, "lm_head");
}

TEST(Damage, IsTheSameOnSeveralRanks) {
  Model model;
  const DamageResult want = model.Measure({});
  const QuantPlan plan = model.Plan({});
  ThreadRanks(2).Run([&](Ranks& ranks) {
    DamageOptions options;
    options.ranks = &ranks;
    options.cpu.threads = 1;
    const auto result = MeasureDamage(*model.checkpoint, plan, model.ids, model.rows, options);
    ASSERT_TRUE(result.ok()) << result.status().message();
    EXPECT_EQ(result->quantised_perplexity, want.quantised_perplexity);
    for (size_t i = 0; i < want.linears.size(); ++i) {
      EXPECT_EQ(result->linears[i].error.noise, want.linears[i].error.noise);
    }
    EXPECT_EQ(result->alone[1].perplexity, want.alone[1].perplexity);
  });
}

TEST(Damage, RefusesAPlanThatQuantisesNothing) {
  Model model;
  QuantScheme scheme;
  scheme.weights = RangeKind::kNone;
  scheme.activations = RangeKind::kNone;
  const QuantPlan plan = model.Plan(scheme);
  EXPECT_THAT(MeasureDamage(*model.checkpoint, plan, model.ids, model.rows, {}).status().message(),
              HasSubstr("nothing is quantised"));
}

TEST(OutputError, OfEqualOutputsIsInfinitelySmall) {
  const OutputError error{.signal = 4, .noise = 0, .product = 4, .quantised = 4};
  EXPECT_EQ(error.SqnrDecibels(), INFINITY);
  EXPECT_EQ(error.Cosine(), 1);
  EXPECT_EQ(OutputError().Cosine(), 1);
  EXPECT_NEAR((OutputError{.signal = 100, .noise = 1, .product = 100, .quantised = 101}.SqnrDecibels()), 20, 1e-12);
}

TEST(DamageReport, SaysWhatWasMeasured) {
  Model model;
  const DamageResult result = model.Measure({});
  const DamageFacts facts{.model = "m", .scheme = "s", .data = "d", .probe_rows = 5, .probe_data = "p"};
  const auto json = nlohmann::json::parse(DamageJson(result, facts));
  EXPECT_EQ(json["linears"].size(), 19U);
  EXPECT_EQ(json["linears"][0]["name"], "model.layers.0.self_attn.q_proj");
  EXPECT_NEAR(json["linears"][0]["sqnr_db"].get<double>(), result.linears[0].error.SqnrDecibels(), 1e-9);
  EXPECT_FALSE(json["linears"][18].contains("sqnr_db"));
  EXPECT_EQ(json["alone"].size(), 3U);
  EXPECT_EQ(json["quantised_perplexity"], result.quantised_perplexity);
  EXPECT_THAT(DamageMarkdown(result, facts), HasSubstr("| model.layers.2.mlp.fc2 | "));
  EXPECT_THAT(DamageMarkdown(result, facts), HasSubstr("Lowest first: "));
  EXPECT_THAT(DamageHtml(result, facts), HasSubstr("</svg>"));
}

}  // namespace
}  // namespace phidias
