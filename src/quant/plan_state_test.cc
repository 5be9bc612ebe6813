// An interrupted plan goes on behind the layers that it found, ends as an uninterrupted one does, and doesn't take
// another plan's layers for its own.
#include "quant/plan_state.h"

#include <gtest/gtest.h>

#include "common/file.h"
#include "quant/calibration.h"
#include "tests/support/quant_test_util.h"

namespace phidias {
namespace {

class PlanStateTest : public testing::Test {
 protected:
  PlanStateTest() : source_(OpenShared(kTinyModel)) {
    stats_ = *Calibrate(*PhiOf(source_, 2), RandomRows(24), {.sample_tokens = 32});
    scheme_ = *PresetScheme("best4");
    scheme_.smoothing = Smoothing::kFixed;  // factors in every place where they can be
    scheme_.integer = true;
  }

  Result<QuantPlan> Make(const PlanOptions& options) {
    return MakeQuantPlan(*source_, &stats_, scheme_, &pool_, options);
  }
  Result<QuantPlan> MakeKept() { return Make({.progress = {}, .cancel = nullptr, .state_path = scratch_.path()}); }

  static void ExpectSame(const LinearPlan& a, const LinearPlan& b) {
    SCOPED_TRACE(a.name);
    EXPECT_EQ(a.name, b.name);
    EXPECT_EQ(a.source.matrix.data, b.source.matrix.data);
    EXPECT_EQ(a.source.column_factor, b.source.column_factor);
    EXPECT_EQ(a.source.row_factor, b.source.row_factor);
    EXPECT_EQ(a.quantize, b.quantize);
    EXPECT_EQ(a.quant.scale, b.quant.scale);
    EXPECT_EQ(a.quant.zero_point, b.quant.zero_point);
    EXPECT_EQ(a.quant.group, b.quant.group);
    EXPECT_EQ(a.quant.multiplier, b.quant.multiplier);
    EXPECT_EQ(a.input, b.input);
    EXPECT_EQ(a.bias, b.bias);
    EXPECT_EQ(a.bias_changed, b.bias_changed);
  }
  static void ExpectSame(const LayerPlan& a, const LayerPlan& b) {
    EXPECT_EQ(a.norm.weight, b.norm.weight);
    EXPECT_EQ(a.norm.bias, b.norm.bias);
    EXPECT_EQ(a.norm_changed, b.norm_changed);
    EXPECT_EQ(a.norm_alpha, b.norm_alpha);
    EXPECT_EQ(a.dense_alpha, b.dense_alpha);
    for (size_t i = 0; i < a.Linears().size(); ++i) {
      ExpectSame(*a.Linears()[i], *b.Linears()[i]);
    }
  }
  static void ExpectSame(const QuantPlan& a, const QuantPlan& b) {
    ASSERT_EQ(a.layers.size(), b.layers.size());
    for (size_t i = 0; i < a.layers.size(); ++i) {
      ExpectSame(a.layers[i], b.layers[i]);
    }
    ExpectSame(a.lm_head, b.lm_head);
    ASSERT_EQ(a.integer.has_value(), b.integer.has_value());
    for (size_t i = 0; a.integer && i < a.layers.size(); ++i) {
      EXPECT_EQ(a.integer->layers[i].v_scale, b.integer->layers[i].v_scale);
    }
  }

  std::string File(int64_t layer) const { return PlanStateFile(scratch_.path(), layer); }

  const ScratchFile scratch_;
  std::shared_ptr<const Checkpoint> source_;
  CalibrationStats stats_;
  QuantScheme scheme_;
  ThreadPool pool_{2};
};

TEST_F(PlanStateTest, GoesOnWhereItWas) {
  std::atomic<bool> cancel{false};
  const QuantProgress stop = [&](int64_t /*done*/, int64_t /*total*/) { cancel = true; };
  EXPECT_EQ(Make({.progress = stop, .cancel = &cancel, .state_path = scratch_.path()}).status().code(),
            StatusCode::kCancelled);
  EXPECT_TRUE(FileExists(File(0)));
  EXPECT_FALSE(FileExists(File(1)));

  const Result<QuantPlan> plain = Make({});
  ASSERT_TRUE(plain.ok()) << plain.status().message();
  for (int run = 0; run < 2; ++run) {  // the first layer from its file, then all of them
    const Result<QuantPlan> kept = MakeKept();
    ASSERT_TRUE(kept.ok()) << kept.status().message();
    ExpectSame(*kept, *plain);
  }
  RemovePlanState(scratch_.path(), source_->config.n_layers);
  EXPECT_FALSE(FileExists(File(0)));
  EXPECT_FALSE(FileExists(File(1)));
}

TEST_F(PlanStateTest, TakesWhatTheFileHolds) {
  QuantPlan plan = *MakeKept();
  plan.layers[1].fc2.input.scale *= 2;
  const std::string fingerprint = PlanFingerprint(*source_, &stats_, scheme_);
  ASSERT_TRUE(WritePlanState(File(1), fingerprint, plan.layers[1]).ok());
  EXPECT_EQ(MakeKept()->layers[1].fc2.input.scale, plan.layers[1].fc2.input.scale);
}

TEST_F(PlanStateTest, LayersOfAnotherPlanAreFoundAnew) {
  ASSERT_TRUE(MakeKept().ok());
  const auto expect_anew = [this] {
    const Result<QuantPlan> kept = MakeKept();
    ASSERT_TRUE(kept.ok()) << kept.status().message();
    ExpectSame(*kept, *Make({}));
  };
  scheme_.group = 64;
  expect_anew();
  scheme_.alpha = 0.75;
  expect_anew();
  scheme_.eight_bits = {"dense"};
  expect_anew();
  stats_.layers[0].fc2.channel_max[0] += 1;
  expect_anew();
}

TEST_F(PlanStateTest, NamesFilesThatCannotBeUsed) {
  ASSERT_TRUE(MakeKept().ok());
  const std::string text = *ReadFile(File(1), 1 << 24);
  std::string flipped = text;
  flipped[text.size() / 2] ^= 4;
  for (const std::string& broken : {flipped, text.substr(0, text.size() - 1), text.substr(0, 30)}) {
    ASSERT_TRUE(WriteFile(File(1), broken).ok());
    EXPECT_EQ(MakeKept().status().message(),
              File(1) + ": the scales state is damaged; delete it to have this layer's found again");
  }
  ASSERT_TRUE(WriteFile(File(1), "mine").ok());
  EXPECT_EQ(MakeKept().status().message(),
            File(1) + ": not a scales state; it won't be overwritten, so name another output directory");
  EXPECT_EQ(*ReadFile(File(1), 100), "mine");
}

// Whole by its checksum, but of another shape than the weights: kernels would read beyond it.
TEST_F(PlanStateTest, ChecksShapes) {
  const QuantPlan plan = *Make({});
  const std::string fingerprint = PlanFingerprint(*source_, &stats_, scheme_);
  const auto refused = [&](const auto& change) {
    LayerPlan layer = plan.layers[0];
    change(&layer);
    EXPECT_TRUE(WritePlanState(File(0), fingerprint, layer).ok());
    LayerPlan read = plan.layers[0];
    return ReadPlanState(File(0), fingerprint, &read).status().code() == StatusCode::kDataError;
  };
  EXPECT_FALSE(refused([](LayerPlan* /*layer*/) {}));
  EXPECT_TRUE(refused([](LayerPlan* layer) { layer->norm.bias.pop_back(); }));
  EXPECT_TRUE(refused([](LayerPlan* layer) { layer->fc1.quant.scale.pop_back(); }));
  EXPECT_TRUE(refused([](LayerPlan* layer) { layer->fc1.quant.multiplier.pop_back(); }));
  EXPECT_TRUE(refused([](LayerPlan* layer) { layer->fc1.quant.multiplier[3] = 64; }));
  EXPECT_TRUE(refused([](LayerPlan* layer) { layer->fc1.quant.group = 16; }));
  EXPECT_TRUE(refused([](LayerPlan* layer) { layer->fc2.bias.push_back(0); }));
  EXPECT_TRUE(refused([](LayerPlan* layer) { layer->dense.source.column_factor.pop_back(); }));
  EXPECT_TRUE(refused([](LayerPlan* layer) { layer->v_proj.source.row_factor.push_back(1); }));
}

}  // namespace
}  // namespace phidias
