// Products with a MatrixI4, in place and copied, against ref/: every kind of share of the columns, few and many rows.
#include "backend/cpu/matrix_i4.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <tuple>

#include "backend/int4_weights.h"
#include "numerics/random.h"

namespace phidias::cpu {
namespace {

class MatrixI4Test : public testing::TestWithParam<std::tuple<const GemmI4*, bool>> {
 protected:
  void SetUp() override {
    if (!std::get<0>(GetParam())->supported()) {
      GTEST_SKIP() << "not supported by this processor";
    }
  }

  void Make(int64_t n, int64_t k, int64_t group) {
    linear_.weight = {DType::kI4, nullptr, n, k};
    linear_.quant.group = group;
    stored_.resize(static_cast<size_t>(n * linear_.weight.RowBytes()));
    for (size_t i = 0; i < stored_.size(); ++i) {
      stored_[i] = static_cast<std::byte>(numerics::RandomBits(3, 1, i));
    }
    linear_.quant.multiplier.resize(static_cast<size_t>(n * linear_.quant.Groups(k)));
    for (size_t i = 0; i < linear_.quant.multiplier.size(); ++i) {
      linear_.quant.multiplier[i] = static_cast<uint8_t>(1 + numerics::RandomBits(3, 2, i) % 63);
    }
    linear_.weight.data = stored_.data();
  }

  Result<MatrixI4> Place(const GemmI4& gemm, bool copied) {
    return copied ? MatrixI4::Copy(linear_.weight, linear_.quant, gemm, pool_, memory_)
                  : Result(MatrixI4::InPlace(linear_.weight, linear_.quant, gemm, pool_));
  }

  void Check(int64_t m, int64_t n, int64_t k, int64_t n_begin, int64_t n_end) {
    const auto [gemm, copied] = GetParam();
    Make(n, k, 64);
    const Result<MatrixI4> matrix = Place(*gemm, copied);
    ASSERT_TRUE(matrix.ok());
    const std::vector<std::byte> kept = stored_;
    if (copied) {
      std::fill(stored_.begin(), stored_.end(), std::byte{0});  // a copy doesn't look back
    }
    linear_.weight.data = kept.data();
    std::vector<int8_t> x(static_cast<size_t>(m * k));
    for (size_t i = 0; i < x.size(); ++i) {
      x[i] = static_cast<int8_t>(numerics::RandomBits(3, 4, i));
    }
    InputsI4 inputs;
    inputs.Resize(matrix->shape(), m);
    inputs.Fill(matrix->shape(), x.data(), 0, m);
    std::vector<int> seen(static_cast<size_t>(m * n));
    matrix->ForProducts(*gemm, inputs, m, n_begin, n_end, scratch_,
                        [&](int64_t row, int64_t first, int64_t columns, const int32_t* acc) {
                          for (int64_t i = 0; i < columns; ++i) {
                            const int64_t col = first + i;
                            ++seen[static_cast<size_t>(row * n + col)];
                            ASSERT_EQ(acc[i], ref::DotI4(x.data() + row * k, RowOfInt4(linear_, col), k))
                                << gemm->isa << " row " << row << " column " << col;
                          }
                        });
    for (int64_t i = 0; i < m * n; ++i) {
      const bool inside = i % n >= n_begin && i % n < n_end;
      ASSERT_EQ(seen[static_cast<size_t>(i)], inside ? 1 : 0) << "row " << i / n << " column " << i % n;
    }
    for (int64_t i = 0; i < n; ++i) {
      ASSERT_EQ(matrix->row_sum()[static_cast<size_t>(i)], ref::SumI4(RowOfInt4(linear_, i), k));
    }
  }

  ThreadPool pool_{3};
  WeightMemory memory_;
  GemmScratch scratch_;
  LinearWeights linear_;
  std::vector<std::byte> stored_;
};

TEST_P(MatrixI4Test, WholeMatrices) {
  for (const int64_t m : {1, 7, 8, 65, 130}) {
    for (const int64_t n : {1, 48, 97, 200}) {
      Check(m, n, 77, 0, n);
    }
  }
  Check(3, 700, 160, 0, 700);  // several shares of the pool while packing
}

TEST_P(MatrixI4Test, SharesOfTheColumns) {
  Check(9, 100, 80, 48, 96);
  Check(9, 100, 80, 96, 100);
  Check(2, 100, 80, 16, 40);
  Check(9, 100, 80, 0, 0);
}

INSTANTIATE_TEST_SUITE_P(AllIsas, MatrixI4Test,
                         testing::Combine(testing::ValuesIn(AllGemmI4().begin(), AllGemmI4().end()), testing::Bool()),
                         [](const auto& test) {
                           return std::string(std::get<0>(test.param)->isa) +
                                  (std::get<1>(test.param) ? "Copied" : "InPlace");
                         });

TEST(CheckInt4, NamesTheLayerAndWhatWouldBeRight) {
  LinearWeights linear;
  linear.name = "model.layers.3.mlp.fc1";
  linear.weight = {DType::kI4, nullptr, 2, 100};
  linear.quant.group = 64;
  linear.quant.multiplier = {1, 63, 5, 7};
  EXPECT_TRUE(CheckInt4(linear).ok());
  linear.quant.multiplier[2] = 64;
  EXPECT_NE(CheckInt4(linear).message().find("fc1: a multiplier of 64 at index 2; expected 1 to 63"),
            std::string::npos);
  linear.quant.multiplier.pop_back();
  EXPECT_NE(CheckInt4(linear).message().find("fc1: 3 multipliers; expected one for each row and group, 4"),
            std::string::npos);
  linear.quant.group = 48;
  EXPECT_NE(CheckInt4(linear).message().find("fc1: groups of 48 inputs"), std::string::npos);
  linear.quant.group = 32;
  linear.weight.cols = 16385;
  EXPECT_NE(CheckInt4(linear).message().find("fc1: rows of 16385"), std::string::npos);
}

}  // namespace
}  // namespace phidias::cpu
