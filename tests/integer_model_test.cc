// The whole model in the `integer` arithmetic: its logits against the same quantised model in `float`, and that no
// instruction set, thread count, batch size or neighbour in a step changes a bit.
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <vector>

#include "backend/cpu/kernels.h"
#include "common/thread_pool.h"
#include "engine/loaded_model.h"
#include "numerics/bits.h"
#include "quant/calibration.h"
#include "quant/dataset.h"
#include "quant/quantizer.h"
#include "tests/support/quantized_demo.h"

namespace phidias {
namespace {

using testing_support::kRoot;
using testing_support::Quantized;

std::unique_ptr<Phi> MakePhi(const std::shared_ptr<const Checkpoint>& checkpoint, Arithmetic arithmetic,
                             const CpuOptions& cpu = {}) {
  auto backend = CreateBackend(*checkpoint, cpu, arithmetic);
  EXPECT_TRUE(backend.ok()) << backend.status().message();
  auto phi = Phi::Create(checkpoint, *std::move(backend));
  EXPECT_TRUE(phi.ok()) << phi.status().message();
  return *std::move(phi);
}

std::vector<float> Logits(Phi& phi, const std::vector<int32_t>& ids, size_t batch) {
  const KvCache cache = *phi.NewKvCache(static_cast<int64_t>(ids.size()));
  std::vector<float> out;
  for (size_t begin = 0; begin < ids.size(); begin += batch) {
    std::vector<StepRow> rows;
    for (size_t pos = begin; pos < std::min(begin + batch, ids.size()); ++pos) {
      rows.push_back({ids[pos], static_cast<int32_t>(pos), cache.store(), true});
    }
    const auto logits = phi.Step(rows);
    EXPECT_TRUE(logits.ok()) << logits.status().message();
    out.insert(out.end(), logits->begin(), logits->end());
  }
  return out;
}

const std::vector<int32_t>& Ids() {
  static const std::vector<int32_t> kIds = {393,  26,  1855, 396, 259,  964, 487, 259, 451, 934,  274, 259, 1111, 1255,
                                            14,   199, 394,  26,  1488, 660, 259, 511, 12,  454,  308, 259, 451,  747,
                                            1117, 961, 14,   566, 1198, 277, 575, 347, 349, 1255, 274, 900, 884,  262};
  return kIds;
}

double RelativeError(const std::vector<float>& got, const std::vector<float>& want) {
  double difference = 0;
  double norm = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    difference += std::pow(static_cast<double>(got[i]) - want[i], 2);
    norm += std::pow(static_cast<double>(want[i]), 2);
  }
  return std::sqrt(difference / norm);
}

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
