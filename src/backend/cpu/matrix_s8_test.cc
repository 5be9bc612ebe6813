// Products with a MatrixS8, in place and copied, against ref/: every kind of share of the columns, few and many rows.
#include "backend/cpu/matrix_s8.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <tuple>

#include "numerics/random.h"
#include "ref/linear_s8.h"

namespace phidias::cpu {
namespace {

std::vector<int8_t> RandomBytes(int64_t count, uint64_t stream) {
  std::vector<int8_t> bytes(static_cast<size_t>(count));
  for (size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<int8_t>(numerics::RandomBits(3, stream, i));
  }
  return bytes;
}

class MatrixS8Test : public testing::TestWithParam<std::tuple<const GemmS8*, bool>> {
 protected:
  void SetUp() override {
    if (!std::get<0>(GetParam())->supported()) {
      GTEST_SKIP() << "not supported by this processor";
    }
  }

  void Check(int64_t m, int64_t n, int64_t k, int64_t n_begin, int64_t n_end) {
    const auto [gemm, copied] = GetParam();
    std::vector<int8_t> weight = RandomBytes(n * k, 1);
    const std::vector<int8_t> x = RandomBytes(m * k, 2);
    std::vector<int32_t> x_sum(static_cast<size_t>(m));
    RowSumsS8(x.data(), m, k, x_sum.data());
    Result<MatrixS8> matrix = copied ? MatrixS8::Copy(weight.data(), n, k, *gemm, pool_, memory_)
                                     : Result(MatrixS8::InPlace(weight.data(), n, k, pool_));
    ASSERT_TRUE(matrix.ok());
    const std::vector<int8_t> kept = weight;
    if (copied) {
      std::fill(weight.begin(), weight.end(), int8_t{0});  // a copy doesn't look back
    }
    std::vector<int> seen(static_cast<size_t>(m * n));
    matrix->ForProducts(*gemm, x.data(), x_sum.data(), m, n_begin, n_end, scratch_,
                        [&](int64_t row, int64_t first, int64_t columns, const int32_t* acc) {
                          for (int64_t i = 0; i < columns; ++i) {
                            const int64_t col = first + i;
                            ++seen[static_cast<size_t>(row * n + col)];
                            ASSERT_EQ(acc[i], ref::DotS8(x.data() + row * k, kept.data() + col * k, k))
                                << gemm->isa << " row " << row << " column " << col;
                          }
                        });
    for (int64_t i = 0; i < m * n; ++i) {
      const bool inside = i % n >= n_begin && i % n < n_end;
      ASSERT_EQ(seen[static_cast<size_t>(i)], inside ? 1 : 0) << "row " << i / n << " column " << i % n;
    }
    for (int64_t i = 0; i < n; ++i) {
      ASSERT_EQ(matrix->row_sum()[static_cast<size_t>(i)], ref::SumS8(kept.data() + i * k, k));
    }
  }

  ThreadPool pool_{3};
  WeightMemory memory_;
  GemmScratch scratch_;
};

TEST_P(MatrixS8Test, WholeMatrices) {
  for (const int64_t m : {1, 7, 8, 65, 130}) {
    for (const int64_t n : {1, 48, 97, 200}) {
      Check(m, n, 37, 0, n);
    }
  }
  Check(3, 700, 160, 0, 700);  // several shares of the pool while packing
}

TEST_P(MatrixS8Test, SharesOfTheColumns) {
  Check(9, 100, 80, 48, 96);
  Check(9, 100, 80, 96, 100);
  Check(2, 100, 80, 16, 40);
  Check(9, 100, 80, 0, 0);
}

INSTANTIATE_TEST_SUITE_P(AllIsas, MatrixS8Test,
                         testing::Combine(testing::ValuesIn(AllGemmS8().begin(), AllGemmS8().end()), testing::Bool()),
                         [](const auto& test) {
                           return std::string(std::get<0>(test.param)->isa) +
                                  (std::get<1>(test.param) ? "Copied" : "InPlace");
                         });

TEST(WeightMemory, PiecesAreAlignedDistinctAndWritable) {
  WeightMemory memory;
  std::vector<std::pair<std::byte*, int64_t>> pieces;
  for (const int64_t bytes : {int64_t{1}, int64_t{64}, int64_t{65}, int64_t{300} << 20, int64_t{5}}) {
    const Result<std::byte*> piece = memory.Allocate(bytes);
    ASSERT_TRUE(piece.ok());
    EXPECT_EQ(reinterpret_cast<uintptr_t>(*piece) % 64, 0U);
    (*piece)[0] = std::byte{1};
    (*piece)[bytes - 1] = std::byte{2};
    for (const auto& [other, size] : pieces) {
      EXPECT_TRUE(*piece >= other + size || *piece + bytes <= other);
    }
    pieces.emplace_back(*piece, bytes);
  }
  EXPECT_GE(memory.bytes(), int64_t{300} << 20);
}

TEST(WeightMemory, TooMuchIsAnErrorThatNamesTheWayOut) {
  WeightMemory memory;
  const Result<std::byte*> piece = memory.Allocate(int64_t{1} << 55);
  ASSERT_FALSE(piece.ok());
  EXPECT_EQ(piece.status().code(), StatusCode::kResourceExhausted);
  EXPECT_NE(piece.status().message().find("--load mmap"), std::string::npos);
}

}  // namespace
}  // namespace phidias::cpu
