// The integer row operators of every instruction set against the scalar ones: equal numbers over odd sizes, random
// values and extremes.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "backend/cpu/kernels.h"
#include "numerics/integer_setup.h"
#include "numerics/random.h"

namespace phidias::cpu {
namespace {

int32_t Random(uint64_t stream, uint64_t at, int64_t limit) {
  const uint64_t range = 2 * static_cast<uint64_t>(limit) + 1;
  return static_cast<int32_t>(static_cast<int64_t>(numerics::ScaleBits(numerics::RandomBits(9, stream, at), range)) -
                              limit);
}

std::vector<int32_t> Values(uint64_t stream, int64_t count, int64_t limit) {
  std::vector<int32_t> out;
  for (int64_t i = 0; i < count; ++i) {
    out.push_back(Random(stream, static_cast<uint64_t>(i), limit));
  }
  return out;
}

class IntegerKernelsTest : public testing::TestWithParam<const Kernels*> {
 protected:
  void SetUp() override {
    if (!GetParam()->supported()) {
      GTEST_SKIP() << GetParam()->isa << " is not supported by this processor";
    }
  }
  const IntegerKernels& kernels() const { return GetParam()->integer; }
};

TEST_P(IntegerKernelsTest, LayerNorm) {
  for (const int64_t n : {1, 2, 15, 160, 333, 2560, 8192}) {
    for (const int64_t limit : {int64_t{1}, int64_t{5000}, int64_t{numerics::kResidualMax}}) {
      const std::vector<int32_t> x = Values(1, n, limit);
      const std::vector<int32_t> gain = Values(2, n, 0x3fffffff);
      const std::vector<int32_t> offset = Values(3, n, 200 << numerics::kNormOffsetBits);
      for (const bool wide : {false, true}) {
        const ref::NormConstants constants = {.gain = gain.data(),
                                              .offset = offset.data(),
                                              .gain_shift = wide ? 38 : 46,
                                              .eps_term = 53687,
                                              .low = wide ? -32767 : -128,
                                              .high = wide ? 32767 : 127};
        std::vector<int32_t> got(x.size());
        std::vector<int32_t> want(x.size());
        kernels().layer_norm(x.data(), n, constants, got.data());
        ref::LayerNormS32(x.data(), n, constants, want.data());
        ASSERT_EQ(got, want) << GetParam()->isa << " n=" << n << " limit=" << limit;
      }
    }
  }
}

TEST_P(IntegerKernelsTest, RequantizeRow) {
  for (const int64_t n : {1, 7, 16, 33, 257}) {
    std::vector<int32_t> acc = Values(4, n, 1 << 30);
    acc[0] = 171798691;
    const std::vector<int32_t> bias = Values(5, n, 1 << 29);
    std::vector<int32_t> multiplier;
    std::vector<int32_t> shift;
    for (int64_t i = 0; i < n; ++i) {
      const auto factor = numerics::MakeFixedFactor(1e-6 * static_cast<double>(1 + i * i * i));
      multiplier.push_back(factor.multiplier);
      shift.push_back(factor.shift);
    }
    const ref::RequantizeConstants constants = {.bias = bias.data(),
                                                .multiplier = multiplier.data(),
                                                .shift = shift.data(),
                                                .zero_point = -31,
                                                .low = -128,
                                                .high = 127};
    std::vector<int32_t> got(acc.size());
    std::vector<int32_t> want(acc.size());
    kernels().requantize_row(acc.data(), n, constants, got.data());
    ref::RequantizeRow(acc.data(), n, constants, want.data());
    ASSERT_EQ(got, want) << GetParam()->isa << " n=" << n;
  }
}

TEST_P(IntegerKernelsTest, ProbabilitiesAndWeightedValues) {
  int32_t table[numerics::kExpTableSize];
  numerics::MakeExpTable(table);
  for (const int64_t count : {1, 2, 17, 512, 4096}) {
    for (const int64_t head_dim : {1, 20, 80, 128}) {
      const std::vector<int32_t> scores = Values(6, count, 1300000);
      const ref::AttentionConstants constants = {
          .to_steps = numerics::MakeFixedFactor(0.001 * static_cast<double>(head_dim)),
          .ratio = {1 << 30, 31},
          .zero_point = 3,
          .exp_table = table};
      std::vector<int32_t> got(scores.size());
      std::vector<int32_t> want(scores.size());
      ASSERT_EQ(kernels().probabilities(scores.data(), count, constants, got.data()),
                ref::Probabilities(scores.data(), count, constants, want.data()));
      ASSERT_EQ(got, want);
      std::vector<int8_t> values;
      for (int64_t i = 0; i < count * head_dim; ++i) {
        values.push_back(static_cast<int8_t>(Random(7, static_cast<uint64_t>(i), 128)));
      }
      std::vector<int32_t> acc(static_cast<size_t>(head_dim));
      std::vector<int32_t> want_acc(acc.size());
      kernels().weighted_values(got.data(), values.data(), head_dim, count, head_dim, acc.data());
      ref::WeightedValues(got.data(), values.data(), head_dim, count, head_dim, want_acc.data());
      ASSERT_EQ(acc, want_acc);
      // The largest possible sum: every probability 4095, every value -128.
      std::fill(got.begin(), got.end(), numerics::kProbabilityMax);
      std::fill(values.begin(), values.end(), int8_t{-128});
      kernels().weighted_values(got.data(), values.data(), head_dim, count, head_dim, acc.data());
      ASSERT_EQ(acc[0], static_cast<int64_t>(-128) * 4095 * count);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(AllIsas, IntegerKernelsTest, testing::ValuesIn(AllKernels().begin(), AllKernels().end()),
                         [](const auto& test) { return std::string(test.param->isa); });

}  // namespace
}  // namespace phidias::cpu
