// The whole model in the `integer` arithmetic: its logits against the same quantised model in `float`, and that no
// instruction set, thread count, batch size or neighbour in a step changes a bit.
#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "backend/cpu/kernels.h"
#include "common/thread_pool.h"
#include "engine/loaded_model.h"
#include "numerics/bits.h"
#include "quant/calibration.h"
#include "quant/dataset.h"
#include "quant/quantizer.h"
#include "tests/support/model_logits.h"
#include "tests/support/quantized_demo.h"

namespace phidias {
namespace {

using testing_support::Ids;
using testing_support::kRoot;
using testing_support::Logits;
using testing_support::MakePhi;
using testing_support::Quantized;
using testing_support::RelativeError;

TEST(IntegerModel, LogitsStayWithinTheQuantisationsNoise) {
  const auto& checkpoint = Quantized(LmHead::kFloat);
  const LoadedModel original = *LoadModel({.path = kRoot + "/models/demo", .need_tokenizer = false});
  const std::vector<float> exact = Logits(*original.phi, Ids(), 100);
  const std::vector<float> in_float = Logits(*MakePhi(checkpoint, Arithmetic::kFloat), Ids(), 100);
  const std::vector<float> in_integers = Logits(*MakePhi(checkpoint, Arithmetic::kInteger), Ids(), 100);
  // int8 linears alone move the logits by `noise`; q, k, v and the attention's output in int8 add as much again.
  const double noise = RelativeError(in_float, exact);
  EXPECT_GT(noise, 1e-4);
  EXPECT_LT(RelativeError(in_integers, in_float), 2 * noise);
  EXPECT_LT(RelativeError(in_integers, exact), 2.5 * noise);
}

TEST(IntegerModel, SixteenBitHeadIsNoWorse) {
  const LoadedModel original = *LoadModel({.path = kRoot + "/models/demo", .need_tokenizer = false});
  const std::vector<float> exact = Logits(*original.phi, Ids(), 100);
  const double eight =
      RelativeError(Logits(*MakePhi(Quantized(LmHead::kFloat), Arithmetic::kInteger), Ids(), 100), exact);
  const double sixteen =
      RelativeError(Logits(*MakePhi(Quantized(LmHead::kInt16), Arithmetic::kInteger), Ids(), 100), exact);
  EXPECT_LT(sixteen, 1.02 * eight);
}

TEST(IntegerModel, SameBitsOnEveryInstructionSet) {
  for (const LmHead lm_head : {LmHead::kFloat, LmHead::kInt16}) {
    const auto& checkpoint = Quantized(lm_head);
    const std::vector<float> want =
        Logits(*MakePhi(checkpoint, Arithmetic::kInteger, {.threads = 1, .isa = "reference"}), Ids(), 100);
    for (const cpu::Kernels* kernels : cpu::AllKernels()) {
      if (!kernels->supported()) {
        continue;
      }
      for (const int threads : {1, 3}) {
        const WeightPlace weights = threads == 1 ? WeightPlace::kInFile : WeightPlace::kCopied;
        const auto phi =
            MakePhi(checkpoint, Arithmetic::kInteger, {.threads = threads, .isa = kernels->isa, .weights = weights});
        for (const size_t batch : {size_t{1}, size_t{5}, size_t{100}}) {
          const std::vector<float> got = Logits(*phi, Ids(), batch);
          ASSERT_EQ(got.size(), want.size());
          for (size_t i = 0; i < got.size(); ++i) {
            ASSERT_EQ(numerics::BitsOf(got[i]), numerics::BitsOf(want[i]))
                << kernels->isa << " threads " << threads << " batch " << batch << " at " << i;
          }
        }
        EXPECT_EQ(phi->backend().saturated(), 0);
      }
    }
  }
}

// Small enough for the thread sanitizer, which runs the tests with "Thread" in their names.
TEST(IntegerModel, ThreadsShareAStep) {
  const std::vector<int32_t> ids(Ids().begin(), Ids().begin() + 6);
  const auto& checkpoint = Quantized(LmHead::kFloat);
  const std::vector<float> want = Logits(*MakePhi(checkpoint, Arithmetic::kInteger, {.threads = 1, .isa = ""}), ids, 6);
  EXPECT_EQ(Logits(*MakePhi(checkpoint, Arithmetic::kInteger, {.threads = 3, .isa = ""}), ids, 3), want);
}

TEST(IntegerModel, NeedsItsConstants) {
  const auto model =
      LoadModel({.path = kRoot + "/models/demo", .need_tokenizer = false, .arithmetic = Arithmetic::kInteger});
  ASSERT_FALSE(model.ok());
  EXPECT_NE(model.status().message().find("has no phidias_integer.json"), std::string::npos);
}

TEST(IntegerModel, RefusesWhatIsNotInt8) {
  const auto& quantized = Quantized(LmHead::kFloat);
  Checkpoint broken = *quantized;
  broken.weights.layers[2].fc1.input.scale *= 2.0F;
  const auto shared = std::make_shared<const Checkpoint>(broken);
  auto backend = CreateBackend(*shared, {}, Arithmetic::kInteger);
  ASSERT_TRUE(backend.ok());
  const auto phi = Phi::Create(shared, *std::move(backend));
  ASSERT_FALSE(phi.ok());
  EXPECT_NE(phi.status().message().find("model.layers.2.mlp.fc1: input_scale"), std::string::npos);
}

}  // namespace
}  // namespace phidias
