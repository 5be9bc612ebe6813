// Every product with 4-bit weights against the scalar one: odd sizes, groups of each size, groups longer than a row,
// the extremes, and the worst case for int32, K = 10240 with all factors at their largest.
#include "backend/cpu/gemm_i4.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "numerics/random.h"
#include "ref/linear_i4.h"

namespace phidias::cpu {
namespace {

class GemmI4Test : public testing::TestWithParam<const GemmI4*> {
 protected:
  void SetUp() override {
    if (!GetParam()->supported()) {
      GTEST_SKIP() << GetParam()->isa << " is not supported by this processor";
    }
  }
};

enum class Fill { kRandom, kAllMin, kMinAgainstMax, kMaxAgainstMin };

// x, then bytes of two weights, then multipliers.
struct Operands {
  std::vector<int8_t> x;
  std::vector<std::byte> stored;  // with one byte in front, so that rows begin at odd addresses
  std::vector<uint8_t> multiplier;

  Operands(int64_t m, int64_t n, const ShapeI4& shape, Fill fill)
      : x(static_cast<size_t>(m * shape.k)),
        stored(static_cast<size_t>(n * shape.row_bytes()) + 1),
        multiplier(static_cast<size_t>(n * shape.groups()), 63) {
    for (size_t i = 0; i < x.size(); ++i) {
      x[i] = fill == Fill::kRandom          ? static_cast<int8_t>(numerics::RandomBits(11, 1, i))
             : fill == Fill::kMaxAgainstMin ? int8_t{127}
                                            : int8_t{-128};
    }
    for (size_t i = 0; i < stored.size(); ++i) {  // also beyond k, where files hold what they like
      stored[i] = fill == Fill::kRandom          ? static_cast<std::byte>(numerics::RandomBits(11, 2, i))
                  : fill == Fill::kMinAgainstMax ? std::byte{0xff}
                                                 : std::byte{0};
    }
    for (size_t i = 0; i < multiplier.size() && fill == Fill::kRandom; ++i) {
      multiplier[i] = static_cast<uint8_t>(1 + numerics::RandomBits(11, 3, i) % 63);
    }
  }
  const std::byte* rows() const { return stored.data() + 1; }
};

void Check(const GemmI4& gemm, int64_t m, int64_t n, const ShapeI4& shape, Fill fill) {
  const Operands operands(m, n, shape, fill);
  const int64_t blocks = (n + kPackRows - 1) / kPackRows;
  std::vector<uint8_t> multipliers(static_cast<size_t>(blocks * kPackRows * shape.groups()));
  PackMultipliers(operands.multiplier.data(), n, shape.groups(), multipliers.data());
  std::vector<uint8_t> packed(static_cast<size_t>(blocks * shape.block_bytes()));
  PackI4(shape, operands.rows(), multipliers.data(), n, packed.data());
  InputsI4 inputs;
  inputs.Resize(shape, m);
  inputs.Fill(shape, operands.x.data(), 0, m);
  const int64_t stride = blocks * kPackRows + 3;
  std::vector<int32_t> got(static_cast<size_t>(m * stride), 99);
  gemm.packed({.x = inputs.q.data(),
               .offset = inputs.offset.data(),
               .m = m,
               .shape = shape,
               .packed = packed.data(),
               .blocks = blocks,
               .acc = got.data(),
               .acc_stride = stride});
  const ref::MatrixI4View view = {operands.rows(), shape.row_bytes(), operands.multiplier.data(), shape.groups(),
                                  shape.group};
  for (int64_t row = 0; row < m; ++row) {
    for (int64_t col = 0; col < n; ++col) {
      ASSERT_EQ(got[row * stride + col], ref::DotI4(operands.x.data() + row * shape.k, view.Row(col), shape.k))
          << gemm.isa << " m=" << m << " n=" << n << " k=" << shape.k << " group=" << shape.group << " row " << row
          << " column " << col;
    }
    for (int64_t col = blocks * kPackRows; col < stride; ++col) {
      ASSERT_EQ(got[row * stride + col], 99) << "written beyond the blocks";
    }
  }
}

constexpr Fill kFills[] = {Fill::kRandom, Fill::kAllMin, Fill::kMinAgainstMax, Fill::kMaxAgainstMin};

TEST_P(GemmI4Test, OddShapesAndExtremes) {
  for (const int64_t m : {1, 2, 3, 5, 8, 9, 17}) {
    for (const int64_t n : {1, 15, 16, 49, 64}) {
      for (const int64_t k : {1, 7, 8, 31, 32, 33, 100, 161, 320}) {
        for (const int64_t group : {32, 64, 128}) {
          for (const Fill fill : kFills) {
            Check(*GetParam(), m, n, {k, group}, fill);
          }
        }
      }
    }
  }
}

TEST_P(GemmI4Test, EveryNumberOfRows) {
  for (int64_t m = 1; m <= 20; ++m) {
    Check(*GetParam(), m, 48, {257, 64}, Fill::kRandom);
  }
}

TEST_P(GemmI4Test, LongestRowOfPhi2StaysInInt32) {
  for (const int64_t group : {32, 64, 128}) {
    for (const Fill fill : kFills) {
      Check(*GetParam(), 9, 20, {10240, group}, fill);
      Check(*GetParam(), 1, 16, {10243, group}, fill);
    }
  }
}

TEST(RefI4, DotSumAndFloatsAgree) {
  const ShapeI4 shape = {.k = 101, .group = 64};
  const Operands operands(1, 1, shape, Fill::kRandom);
  const ref::RowI4 row = {operands.rows(), operands.multiplier.data(), shape.group};
  std::vector<float> floats(static_cast<size_t>(shape.k));
  ref::DequantizeRowI4(row, 0.5F, shape.k, floats.data());
  double dot = 0;
  double sum = 0;
  for (size_t i = 0; i < floats.size(); ++i) {
    dot += 2.0 * static_cast<double>(floats[i]) * operands.x[i];
    sum += 2.0 * static_cast<double>(floats[i]);
  }
  EXPECT_EQ(ref::DotI4(operands.x.data(), row, shape.k), dot);
  EXPECT_EQ(ref::SumI4(row, shape.k), sum);
  const auto first = static_cast<int32_t>(operands.rows()[0]);
  EXPECT_EQ(floats[0], 0.5F * static_cast<float>(((first & 15) - 8) * operands.multiplier[0]));
  EXPECT_EQ(floats[1], 0.5F * static_cast<float>(((first >> 4) - 8) * operands.multiplier[0]));
}

TEST(RefI4, ZeroPointsFoldIntoTheRowsSum) {
  const ShapeI4 shape = {.k = 70, .group = 32};
  const Operands operands(1, 1, shape, Fill::kRandom);
  const ref::MatrixI4View view = {operands.rows(), shape.row_bytes(), operands.multiplier.data(), shape.groups(),
                                  shape.group};
  const int32_t zero = -37;
  std::vector<float> floats(static_cast<size_t>(shape.k));
  ref::DequantizeRowI4(view.Row(0), 1.0F, shape.k, floats.data());
  double want = 0;
  for (size_t i = 0; i < floats.size(); ++i) {
    want += static_cast<double>(floats[i]) * (operands.x[i] - zero);
  }
  const float scale = 0.25F;
  const float bias = 3.0F;
  float y = 0;
  ref::LinearI4(operands.x.data(), 0.5F, zero, view, &scale, &bias, 1, shape.k, &y);
  EXPECT_EQ(y, static_cast<float>(want * 0.125 + 3));
}

std::vector<const GemmI4*> All() {
  std::vector<const GemmI4*> all(AllGemmI4().begin(), AllGemmI4().end());
#if defined(__x86_64__)
  all.push_back(&kAvx512Vnni256GemmI4);
#endif
  return all;
}

INSTANTIATE_TEST_SUITE_P(AllIsas, GemmI4Test, testing::ValuesIn(All()),
                         [](const auto& test) { return std::string(test.param->isa); });

}  // namespace
}  // namespace phidias::cpu
