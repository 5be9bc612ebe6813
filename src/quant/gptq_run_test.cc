// GPTQ over a whole model: it loses less than rounding, its result depends on nothing but model, plan and rows, an
// interrupted run goes on where it was, and states of something else are refused.
#include "quant/gptq_run.h"

#include <gtest/gtest.h>

#include <cmath>

#include "common/file.h"
#include "quant/calibration.h"
#include "quant/gptq_state.h"
#include "quant/quantizer.h"
#include "tests/support/quant_test_util.h"

namespace phidias {
namespace {

class GptqRunTest : public testing::Test {
 protected:
  GptqRunTest() : source_(OpenShared(kTinyModel)), rows_(RandomRows(24)) {
    stats_ = *Calibrate(*PhiOf(source_, 2), rows_, {.sample_tokens = 32});
    scheme_ = *PresetScheme("best4");
    scheme_.group = 32;
    scheme_.smoothing = Smoothing::kNone;
  }

  QuantPlan Plan() {
    Result<QuantPlan> plan = MakeQuantPlan(*source_, &stats_, scheme_, &pool_);
    EXPECT_TRUE(plan.ok()) << plan.status().message();
    return *std::move(plan);
  }
  QuantPlan Gptq(const GptqOptions& options = {}) {
    QuantPlan plan = Plan();
    const Status status = RunGptq(*source_, rows_, options, &pool_, &plan);
    EXPECT_TRUE(status.ok()) << status.message();
    return plan;
  }
  std::string Message(const GptqOptions& options) {
    QuantPlan plan = Plan();
    return RunGptq(*source_, rows_, options, &pool_, &plan).message();
  }

  // Mean squared error of the logits against the float model's, on rows of its own.
  double LogitError(const QuantPlan& plan) {
    const std::vector<float> got = Logits(std::make_shared<Checkpoint>(ApplyQuantPlan(*source_, plan, &pool_)));
    const std::vector<float> want = Logits(source_);
    double error = 0;
    for (size_t i = 0; i < got.size(); ++i) {
      error += std::pow(got[i] - want[i], 2);
    }
    return error;
  }
  static std::vector<float> Logits(const std::shared_ptr<const Checkpoint>& checkpoint) {
    return LogitsOfRows(*PhiOf(checkpoint, 2), RandomRows(8, 5));
  }

  static void ExpectSame(const QuantPlan& a, const QuantPlan& b) {
    const auto left = a.Linears();
    const auto right = b.Linears();
    for (size_t i = 0; i < left.size(); ++i) {
      EXPECT_EQ(left[i]->quant.multiplier, right[i]->quant.multiplier) << left[i]->name;
      ASSERT_EQ(left[i]->packed == nullptr, right[i]->packed == nullptr) << left[i]->name;
      EXPECT_TRUE(left[i]->packed == nullptr || *left[i]->packed == *right[i]->packed) << left[i]->name;
    }
  }

  std::shared_ptr<const Checkpoint> source_;
  std::vector<std::vector<int32_t>> rows_;
  CalibrationStats stats_;
  QuantScheme scheme_;
  ThreadPool pool_{2};
};

TEST_F(GptqRunTest, LosesLessThanRounding) {
  const QuantPlan gptq = Gptq();
  for (const LinearPlan* linear : gptq.Linears()) {
    EXPECT_EQ(linear->packed != nullptr, linear->name != "lm_head") << linear->name;
  }
  const double mse = LogitError(Plan());
  const double error = LogitError(gptq);
  EXPECT_LT(error, mse);
  scheme_.smoothing = Smoothing::kFixed;  // factors go into rows and columns
  EXPECT_LT(LogitError(Gptq()), mse);
}

TEST_F(GptqRunTest, ThreadsChangeNothingAndOtherLayersAreLeft) {
  scheme_.skip = {"model.layers.0.mlp.fc1"};
  scheme_.eight_bits = {"dense"};
  GptqOptions options;
  options.cpu.threads = 1;
  const QuantPlan one = Gptq(options);
  options.cpu.threads = 3;
  ExpectSame(one, Gptq(options));
  EXPECT_EQ(one.layers[0].fc1.packed, nullptr);
  EXPECT_EQ(one.layers[1].dense.packed, nullptr);
  EXPECT_TRUE(one.layers[1].dense.quantize);
  EXPECT_NE(one.layers[1].fc1.packed, nullptr);
  EXPECT_EQ(one.eight_bits.size(), one.layers.size());
}

TEST_F(GptqRunTest, GoesOnWhereItWas) {
  const ScratchFile scratch;
  std::atomic<bool> cancel{false};
  GptqOptions options;
  options.state_path = scratch.path();
  options.cancel = &cancel;
  std::vector<int64_t> done;
  options.progress = [&](int64_t layer, int64_t /*total*/) {
    done.push_back(layer);
    cancel = true;  // after the first
  };
  QuantPlan stopped = Plan();
  EXPECT_EQ(RunGptq(*source_, rows_, options, &pool_, &stopped).code(), StatusCode::kCancelled);
  EXPECT_EQ(done, std::vector<int64_t>{1});
  EXPECT_TRUE(FileExists(GptqStateFile(scratch.path(), 0)));
  EXPECT_FALSE(FileExists(GptqStateFile(scratch.path(), 1)));

  options.cancel = nullptr;
  const QuantPlan resumed = Gptq(options);
  ExpectSame(resumed, Gptq());
  ExpectSame(resumed, Gptq(options));  // all from the states
  RemoveGptqState(scratch.path(), source_->config.n_layers);
  EXPECT_FALSE(FileExists(GptqStateFile(scratch.path(), 0)));
}

TEST_F(GptqRunTest, NamesStatesThatAreNotIts) {
  const ScratchFile scratch;
  GptqOptions options;
  options.state_path = scratch.path();
  Gptq(options);
  const std::string file = GptqStateFile(scratch.path(), 0);
  rows_[3][0] ^= 1;
  EXPECT_NE(Message(options).find(file + ": the state of another run"), std::string::npos) << Message(options);
  rows_[3][0] ^= 1;
  std::string text = *ReadFile(file, 1 << 24);
  text[text.size() / 2] ^= 4;
  ASSERT_TRUE(WriteFile(file, text).ok());
  EXPECT_EQ(Message(options), file + ": the GPTQ state is damaged; delete it to have this layer done again");
  ASSERT_TRUE(WriteFile(file, "mine").ok());
  EXPECT_NE(Message(options).find("not a GPTQ state; it won't be overwritten"), std::string::npos);
}

TEST_F(GptqRunTest, NamesInputsThatCannotBeUsed) {
  rows_.assign(3, {});
  EXPECT_EQ(Message({}), "--weights gptq: the calibration data holds no tokens");
}

}  // namespace
}  // namespace phidias
