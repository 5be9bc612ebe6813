// The whole model with 4-bit linear layers, in both arithmetics: that no instruction set, thread count, batch size or
// place of the weights changes a bit, that the same numbers written as int8 or as floats give the same bits, and that
// the cards refuse it.
#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <vector>

#include "backend/cpu/kernels.h"
#include "backend/fpga/card_weights.h"
#include "backend/fpga/tiled_backend.h"
#include "backend/int4_weights.h"
#include "engine/card_weights.h"
#include "numerics/bits.h"
#include "tests/support/int4_demo.h"
#include "tests/support/model_logits.h"

namespace phidias {
namespace {

using testing_support::Ids;
using testing_support::Int4Demo;
using testing_support::Int4Options;
using testing_support::kRoot;
using testing_support::LayerLinears;
using testing_support::Logits;
using testing_support::MakePhi;
using testing_support::RelativeError;

using CheckpointPtr = std::shared_ptr<const Checkpoint>;

void ExpectSameBits(const std::vector<float>& got, const std::vector<float>& want, const std::string& what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_EQ(numerics::BitsOf(got[i]), numerics::BitsOf(want[i])) << what << " at " << i;
  }
}

// A step of all and smaller ones; few tokens, as the scalar reference is slow.
const std::vector<int32_t>& FewIds() {
  static const std::vector<int32_t> kIds(Ids().begin(), Ids().begin() + 11);
  return kIds;
}

void ExpectSameBitsEverywhere(const CheckpointPtr& checkpoint, Arithmetic arithmetic, const std::string& what) {
  const std::vector<float> want =
      Logits(*MakePhi(checkpoint, arithmetic, {.threads = 1, .isa = "reference"}), FewIds(), 11);
  for (const char* isa : {"avx512", "avxvnni", "avx2", "portable"}) {
    for (const int threads : {1, 3}) {
      const WeightPlace place = threads == 1 ? WeightPlace::kInFile : WeightPlace::kCopied;
      const CpuOptions cpu = {.threads = threads, .isa = isa, .weights = place};
      if (!CreateBackend(*checkpoint, cpu, arithmetic).ok()) {
        continue;  // not supported by this processor
      }
      const auto phi = MakePhi(checkpoint, arithmetic, cpu);
      for (const size_t batch : {size_t{1}, size_t{5}, size_t{11}}) {
        ExpectSameBits(Logits(*phi, FewIds(), batch), want,
                       StrCat(what, " ", isa, " threads ", threads, " batch ", batch));
      }
    }
  }
}

TEST(Int4Model, SameBitsOnEveryInstructionSetInFloat) {
  ExpectSameBitsEverywhere(Int4Demo({.group = 32}), Arithmetic::kFloat, "static inputs");
  ExpectSameBitsEverywhere(Int4Demo({.group = 64, .input = InputQuant::Kind::kDynamic}), Arithmetic::kFloat,
                           "dynamic inputs");
  ExpectSameBitsEverywhere(Int4Demo({.group = 128, .input = InputQuant::Kind::kNone}), Arithmetic::kFloat,
                           "float inputs");
}

TEST(Int4Model, SameBitsOnEveryInstructionSetInIntegers) {
  for (const int64_t group : {32, 64, 128}) {
    ExpectSameBitsEverywhere(Int4Demo({.group = group}), Arithmetic::kInteger, StrCat("group ", group));
  }
}

// Small enough for the thread sanitizer, which runs the tests with "Thread" in their names.
TEST(Int4Model, ThreadsShareAStep) {
  const std::vector<int32_t> ids(FewIds().begin(), FewIds().begin() + 6);
  const CheckpointPtr checkpoint = Int4Demo({});
  for (const Arithmetic arithmetic : {Arithmetic::kFloat, Arithmetic::kInteger}) {
    const std::vector<float> want = Logits(*MakePhi(checkpoint, arithmetic, {.threads = 1, .isa = ""}), ids, 6);
    EXPECT_EQ(Logits(*MakePhi(checkpoint, arithmetic, {.threads = 3, .isa = ""}), ids, 3), want);
  }
}

// Every layer's 4-bit weights as `element` makes them of (row, input, multiplier * q).
template <class T>
CheckpointPtr Rewritten(const CheckpointPtr& checkpoint, DType dtype, T (*element)(float scale, int32_t weight)) {
  auto out = std::make_shared<Checkpoint>(*checkpoint);
  for (LinearWeights* linear : LayerLinears(*out)) {
    const int64_t k = linear->weight.cols;
    std::vector<T> values;
    std::vector<float> row(static_cast<size_t>(k));
    for (int64_t n = 0; n < linear->weight.rows; ++n) {
      ref::DequantizeRowI4(RowOfInt4(*linear, n), 1.0F, k, row.data());
      for (const float weight : row) {
        values.push_back(element(linear->quant.scale[static_cast<size_t>(n)], static_cast<int32_t>(weight)));
      }
    }
    const auto bytes = std::as_bytes(std::span(values));
    out->store.owned.push_back(std::make_shared<std::vector<std::byte>>(bytes.begin(), bytes.end()));
    linear->weight = {dtype, out->store.owned.back()->data(), linear->weight.rows, k};
    linear->quant.group = 0;
    linear->quant.multiplier.clear();
    if (dtype == DType::kF32) {
      linear->quant = {};
    }
  }
  return out;
}

// Multipliers up to 15 keep multiplier * q within int8, whose arithmetic is another path to the same sums.
TEST(Int4Model, SameNumbersInInt8HaveTheSameBits) {
  for (const InputQuant::Kind input : {InputQuant::Kind::kStatic, InputQuant::Kind::kDynamic}) {
    const CheckpointPtr four = Int4Demo({.group = 64, .largest_multiplier = 15, .input = input});
    const CheckpointPtr eight = Rewritten<int8_t>(
        four, DType::kI8, [](float /*scale*/, int32_t weight) { return static_cast<int8_t>(weight); });
    ExpectSameBits(Logits(*MakePhi(four, Arithmetic::kFloat), Ids(), 100),
                   Logits(*MakePhi(eight, Arithmetic::kFloat), Ids(), 100), "float");
    if (input == InputQuant::Kind::kStatic) {
      ExpectSameBits(Logits(*MakePhi(four, Arithmetic::kInteger), Ids(), 100),
                     Logits(*MakePhi(eight, Arithmetic::kInteger), Ids(), 100), "integer");
    }
  }
}

TEST(Int4Model, FloatInputsMeetTheDequantisedWeights) {
  const CheckpointPtr four = Int4Demo({.group = 32, .input = InputQuant::Kind::kNone});
  const CheckpointPtr floats = Rewritten<float>(
      four, DType::kF32, [](float scale, int32_t weight) { return static_cast<float>(weight) * scale; });
  for (const size_t batch : {size_t{1}, size_t{11}}) {
    ExpectSameBits(Logits(*MakePhi(four, Arithmetic::kFloat), FewIds(), batch),
                   Logits(*MakePhi(floats, Arithmetic::kFloat), FewIds(), batch), "float inputs");
  }
}

TEST(Int4Model, LogitsStayWithinTheRoundingsNoise) {
  const LoadedModel original = *LoadModel({.path = kRoot + "/models/demo", .need_tokenizer = false});
  const std::vector<float> exact = Logits(*original.phi, Ids(), 100);
  const auto error = [&](const Int4Options& options, Arithmetic arithmetic) {
    return RelativeError(Logits(*MakePhi(Int4Demo(options), arithmetic), Ids(), 100), exact);
  };
  // What the weights alone cost; 8-bit inputs and the integer arithmetic add little to it.
  const double weights = error({.group = 32, .input = InputQuant::Kind::kNone}, Arithmetic::kFloat);
  EXPECT_GT(weights, 1e-3);
  EXPECT_LT(weights, 0.1);
  EXPECT_LT(error({.group = 32}, Arithmetic::kFloat), 1.2 * weights);
  EXPECT_LT(error({.group = 32}, Arithmetic::kInteger), 1.3 * weights);
  EXPECT_GT(error({.group = 128, .input = InputQuant::Kind::kNone}, Arithmetic::kFloat), weights);
}

TEST(Int4Model, TheReportDesignRefusesItByName) {
  const CheckpointPtr checkpoint = Int4Demo({});
  const auto placing = fpga::CheckWeights(CardWeightsOf(*checkpoint), {});
  ASSERT_FALSE(placing.ok());
  EXPECT_NE(placing.status().message().find("model.layers.0.self_attn.q_proj: its weight has 4 bits"),
            std::string::npos);
  EXPECT_NE(placing.status().message().find("--device cpu"), std::string::npos);
}

TEST(Int4Model, TheTiledDesignRefusesAMixtureByName) {
  auto mixed = std::make_shared<Checkpoint>(*Int4Demo({}));
  mixed->weights.layers[1].fc2 = testing_support::Quantized(LmHead::kFloat)->weights.layers[1].fc2;
  const auto no_card = [](const fpga::HbmPlacement& /*placement*/) -> Result<std::unique_ptr<fpga::CardDevice>> {
    return NotFound("no card");
  };
  auto backend = fpga::CreateTiledBackend(ShapeOf(mixed->config), {}, *mixed->integer, no_card);
  ASSERT_TRUE(backend.ok()) << backend.status().message();
  const auto phi = Phi::Create(CheckpointPtr(mixed), *std::move(backend));
  ASSERT_FALSE(phi.ok());
  EXPECT_NE(phi.status().message().find("model.layers.1.mlp.fc2: its weight has 8 bits where model.layers.0.self_attn."
                                        "q_proj has 4"),
            std::string::npos)
      << phi.status().message();
}

TEST(Int4Model, TheIntegerArithmeticNamesWhatItCannotTake) {
  const CheckpointPtr checkpoint = Int4Demo({.input = InputQuant::Kind::kDynamic});
  auto backend = CreateBackend(*checkpoint, {}, Arithmetic::kInteger);
  ASSERT_TRUE(backend.ok());
  const auto phi = Phi::Create(checkpoint, *std::move(backend));
  ASSERT_FALSE(phi.ok());
  EXPECT_NE(phi.status().message().find("q_proj: the integer arithmetic needs a static input scale"),
            std::string::npos);
}

}  // namespace
}  // namespace phidias
