// Layers left at 8 bits for a budget, on the demo model: the budget is kept, no layer is left without need, and the
// worst ones are.
#include "quant/auto_bits.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "engine/loaded_model.h"
#include "quant/calibration.h"
#include "quant/dataset.h"
#include "quant/quantizer.h"
#include "tests/support/quant_test_util.h"

namespace phidias {
namespace {

class AutoBitsTest : public testing::Test {
 protected:
  AutoBitsTest() : model_(*LoadModel({.path = kDemoModel})) {
    const std::string data = std::string(PHIDIAS_SOURCE_DIR) + "/tests/data/calib32.jsonl";
    dataset_ = *LoadDataset(*model_.tokenizer, data, {.samples = 8, .max_tokens = 96});
    const CalibrationStats stats = *Calibrate(*model_.phi, dataset_.rows, {});
    QuantScheme scheme;
    scheme.integer = true;
    eight_ = *MakeQuantPlan(*model_.checkpoint, &stats, scheme, &pool_);
    scheme.weight_bits = 4;
    scheme.group = 128;
    four_ = *MakeQuantPlan(*model_.checkpoint, &stats, scheme, &pool_);
  }

  Result<AutoBits> Choose(double budget, QuantPlan* plan) {
    *plan = four_;
    AutoBitsOptions options;
    options.budget = budget;
    return ChooseBits(*model_.checkpoint, eight_, WholeRows(dataset_), options, &pool_, plan);
  }

  LoadedModel model_;
  Dataset dataset_;
  QuantPlan eight_;
  QuantPlan four_;
  ThreadPool pool_{2};
};

TEST_F(AutoBitsTest, KeepsTheBudgetWithTheWorstLayers) {
  QuantPlan plan;
  const auto free = Choose(10, &plan);
  ASSERT_TRUE(free.ok()) << free.status().message();
  EXPECT_TRUE(free->eight.empty());
  EXPECT_TRUE(plan.eight_bits.empty());
  const double all = free->all_four.relative;
  ASSERT_GT(all, 0.01);

  const auto bits = Choose(0.6 * all, &plan);
  ASSERT_TRUE(bits.ok()) << bits.status().message();
  EXPECT_LE(bits->chosen.relative, 0.6 * all);
  ASSERT_FALSE(bits->eight.empty());
  ASSERT_LT(bits->eight.size(), plan.layers.size());
  EXPECT_EQ(plan.eight_bits.size(), 6 * bits->eight.size());
  EXPECT_EQ(plan.scheme.eight_bits, plan.eight_bits);
  EXPECT_TRUE(std::is_sorted(bits->eight.begin(), bits->eight.end(), [](const AloneDamage& a, const AloneDamage& b) {
    return a.change.relative > b.change.relative;
  }));
  for (size_t i = 0; i < plan.layers.size(); ++i) {
    const std::string name = StrCat("model.layers.", i);
    const bool eight = std::any_of(bits->eight.begin(), bits->eight.end(),
                                   [&](const AloneDamage& layer) { return layer.name == name; });
    EXPECT_EQ(plan.layers[i].fc1.FourBits(), !eight) << name;
    EXPECT_TRUE(plan.layers[i].fc1.quantize);
  }
}

TEST_F(AutoBitsTest, ABudgetThatCannotBeKeptIsSaid) {
  QuantPlan plan;
  const auto bits = Choose(-0.5, &plan);
  EXPECT_EQ(bits.status().code(), StatusCode::kInvalidArgument);
  EXPECT_NE(bits.status().message().find("--bits-auto -50: even with every layer at 8 bits the perplexity changes by"),
            std::string::npos)
      << bits.status().message();
}

}  // namespace
}  // namespace phidias
