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

struct AttentionCase {
  int64_t head_dim, rows, first_count, step;
  bool largest = false;  // every probability 4095, every value and key -128
};

void CheckAttention(const Kernels& kernels, const AttentionCase& c) {
  int32_t table[numerics::kExpTableSize];
  numerics::MakeExpTable(table);
  int16_t probability_table[kProbabilitySteps + 1];
  MakeProbabilityTable(table, probability_table);
  const int64_t positions = c.first_count + (c.rows - 1) * c.step;
  const auto value = [&](uint64_t stream, int64_t i) {
    return c.largest ? int8_t{-128} : static_cast<int8_t>(Random(stream, static_cast<uint64_t>(i), 127));
  };
  std::vector<int8_t> q;
  for (int64_t i = 0; i < c.rows * c.head_dim; ++i) {
    q.push_back(value(6, i));
  }
  // What lies behind the last position, and between elements, is anything.
  std::vector<int8_t> keys(static_cast<size_t>(PaddedPositions(positions) * KeyDim(c.head_dim)), int8_t{-77});
  std::vector<int8_t> values(static_cast<size_t>(PaddedPositions(positions) * ValueDim(c.head_dim)), int8_t{-77});
  for (int64_t j = 0; j < positions; ++j) {
    for (int64_t d = 0; d < c.head_dim; ++d) {
      keys[KeyIndex(j, d, c.head_dim)] = value(7, j * c.head_dim + d);
      values[ValueIndex(j, d, c.head_dim)] = value(8, j * c.head_dim + d);
    }
  }
  const ref::AttentionConstants constants[2] = {
      {.to_steps = numerics::MakeFixedFactor(0.01), .ratio = {1 << 30, 31}, .zero_point = 3, .exp_table = table},
      {.to_steps = numerics::MakeFixedFactor(0.0003),
       .ratio = {(1 << 30) + 12345, 29},
       .zero_point = -20,
       .exp_table = table}};
  std::vector<int8_t> got(q.size(), int8_t{99});
  std::vector<int8_t> want = got;
  std::vector<int32_t> scratch(static_cast<size_t>(AttentionS8Scratch(positions, c.head_dim)));
  const auto run = [&](const Kernels& with, std::vector<int8_t>* out) {
    std::vector<AttentionRowS8> rows;
    for (int64_t r = 0; r < c.rows; ++r) {
      rows.push_back(
          {q.data() + r * c.head_dim, c.first_count + r * c.step, &constants[r % 2], out->data() + r * c.head_dim});
    }
    with.integer.attention({.rows = rows.data(),
                            .row_count = c.rows,
                            .keys = keys.data(),
                            .values = values.data(),
                            .head_dim = c.head_dim,
                            .probability_table = probability_table,
                            .scratch = scratch.data()});
  };
  run(kernels, &got);
  run(kReferenceKernels, &want);
  ASSERT_EQ(got, want) << kernels.isa << " head_dim=" << c.head_dim << " rows=" << c.rows << " count=" << c.first_count
                       << " step=" << c.step;
}

TEST_P(IntegerKernelsTest, Attention) {
  for (const int64_t head_dim : {1, 4, 15, 20, 64, 80, 128, 250}) {
    for (const int64_t count : {1, 2, 15, 16, 17, 100}) {
      CheckAttention(*GetParam(), {.head_dim = head_dim, .rows = 1, .first_count = count, .step = 0});
      CheckAttention(*GetParam(), {.head_dim = head_dim, .rows = 5, .first_count = count, .step = 1});
    }
  }
  for (const int64_t rows : {2, 3, 4, 7, 8, 9}) {
    CheckAttention(*GetParam(), {.head_dim = 80, .rows = rows, .first_count = 33, .step = 0});
    CheckAttention(*GetParam(), {.head_dim = 24, .rows = rows, .first_count = 1, .step = 13});
  }
  CheckAttention(*GetParam(),
                 {.head_dim = 80, .rows = 5, .first_count = numerics::kMaxIntegerContext, .step = 0, .largest = true});
}

TEST_P(IntegerKernelsTest, Rotary) {
  for (const int64_t rotary_dim : {2, 8, 32, 34, 80}) {
    std::vector<int16_t> cos_row;
    std::vector<int16_t> sin_row;
    for (int64_t i = 0; i < rotary_dim / 2; ++i) {
      cos_row.push_back(static_cast<int16_t>(Random(10, static_cast<uint64_t>(i), 16384)));
      sin_row.push_back(static_cast<int16_t>(Random(11, static_cast<uint64_t>(i), 16384)));
    }
    const std::vector<int32_t> x = Values(12, 96, 32767);
    std::vector<int8_t> got(x.size());
    std::vector<int8_t> want(x.size());
    kernels().rotary(cos_row.data(), sin_row.data(), rotary_dim, 96, x.data(), got.data());
    ref::RotaryS16(cos_row.data(), sin_row.data(), rotary_dim, 96, x.data(), want.data());
    ASSERT_EQ(got, want) << GetParam()->isa << " " << rotary_dim;
  }
}

TEST_P(IntegerKernelsTest, GeluAndResidual) {
  std::vector<int8_t> table;
  for (uint64_t i = 0; i < 256; ++i) {
    table.push_back(static_cast<int8_t>(Random(13, i, 127)));
  }
  for (const int64_t n : {1, 31, 256, 320}) {
    std::vector<int32_t> x = Values(14, n, 127);
    x[0] = -128;
    std::vector<int8_t> y(x.size());
    kernels().gelu(table.data(), x.data(), n, y.data());
    for (size_t i = 0; i < y.size(); ++i) {
      ASSERT_EQ(y[i], table[x[i] + 128]);
    }
    const std::vector<int32_t> attention = Values(15, n, 1 << 30);
    const std::vector<int32_t> mlp = Values(16, n, 1 << 30);
    std::vector<int32_t> got = Values(17, n, numerics::kResidualMax);
    std::vector<int32_t> want = got;
    int64_t saturated = 0;
    for (size_t i = 0; i < want.size(); ++i) {
      want[i] = numerics::AddResidual(want[i], attention[i], mlp[i], &saturated);
    }
    ASSERT_EQ(kernels().add_residual(attention.data(), mlp.data(), n, got.data()), saturated);
    ASSERT_EQ(got, want);
  }
}

INSTANTIATE_TEST_SUITE_P(AllIsas, IntegerKernelsTest, testing::ValuesIn(AllKernels().begin(), AllKernels().end()),
                         [](const auto& test) { return std::string(test.param->isa); });

}  // namespace
}  // namespace phidias::cpu
