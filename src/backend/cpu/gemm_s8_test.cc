// Every int8 product against the scalar one: odd sizes, all-(-128), random bytes, unaligned weights; and the worst case
// for int32, K = 10240 with both operands at -128.
#include "backend/cpu/gemm_s8.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "backend/cpu/packed_s8.h"
#include "numerics/random.h"
#include "ref/linear_s8.h"

namespace phidias::cpu {
namespace {

class GemmS8Test : public testing::TestWithParam<const GemmS8*> {
 protected:
  void SetUp() override {
    if (!GetParam()->supported()) {
      GTEST_SKIP() << GetParam()->isa << " is not supported by this processor";
    }
  }
};

enum class Fill { kRandom, kAllMin, kMinAgainstMax };

int8_t ByteOf(Fill fill, uint64_t stream, uint64_t at) {
  switch (fill) {
    case Fill::kAllMin: return -128;
    case Fill::kMinAgainstMax: return stream == 1 ? int8_t{-128} : int8_t{127};
    case Fill::kRandom: break;
  }
  return static_cast<int8_t>(numerics::RandomBits(11, stream, at));
}

void Check(const GemmS8& gemm, int64_t m, int64_t n, int64_t k, Fill fill) {
  std::vector<int8_t> x(static_cast<size_t>(m * k));
  std::vector<int8_t> stored(static_cast<size_t>(n * k) + 1);
  for (size_t i = 0; i < x.size(); ++i) {
    x[i] = ByteOf(fill, 1, i);
  }
  for (size_t i = 0; i < stored.size(); ++i) {
    stored[i] = ByteOf(fill, 2, i);
  }
  const int8_t* weight = stored.data() + 1;
  std::vector<int32_t> row_sum;
  for (int64_t i = 0; i < n; ++i) {
    row_sum.push_back(ref::SumS8(weight + i * k, k));
  }
  const int64_t begin = n / 3;  // a share that doesn't start at 0
  const int64_t stride = n - begin + 2;
  std::vector<int32_t> got(static_cast<size_t>(m * stride), 99);
  std::vector<int32_t> want = got;
  GemmS8Args args = {.x = x.data(),
                     .m = m,
                     .k = k,
                     .weight = weight,
                     .row_sum = row_sum.data(),
                     .acc = got.data(),
                     .acc_stride = stride};
  gemm.run(args, begin, n);
  args.acc = want.data();
  kReferenceGemmS8.run(args, begin, n);
  ASSERT_EQ(got, want) << gemm.isa << " m=" << m << " n=" << n << " k=" << k;
}

// The same product from packed weights; the blocks' unused columns are written too, but not compared.
void CheckPacked(const GemmS8& gemm, int64_t m, int64_t n, int64_t k, Fill fill) {
  std::vector<int8_t> x(static_cast<size_t>(m * k));  // exactly: a read beyond it is the address sanitizer's
  std::vector<int8_t> weight(static_cast<size_t>(n * k));
  for (size_t i = 0; i < x.size(); ++i) {
    x[i] = ByteOf(fill, 1, i);
  }
  for (size_t i = 0; i < weight.size(); ++i) {
    weight[i] = ByteOf(fill, 2, i);
  }
  std::vector<uint8_t> packed(static_cast<size_t>(PackedBytes(n, k)));
  PackS8(weight.data(), n, k, packed.data());
  std::vector<int32_t> x_sum(static_cast<size_t>(m));
  RowSumsS8(x.data(), m, k, x_sum.data());
  const int64_t blocks = (n + kPackRows - 1) / kPackRows;
  const int64_t stride = blocks * kPackRows + 3;
  std::vector<int32_t> got(static_cast<size_t>(m * stride), 99);
  gemm.packed({.x = x.data(),
               .x_sum = x_sum.data(),
               .m = m,
               .k = k,
               .packed = packed.data(),
               .blocks = blocks,
               .acc = got.data(),
               .acc_stride = stride});
  for (int64_t row = 0; row < m; ++row) {
    for (int64_t col = 0; col < n; ++col) {
      ASSERT_EQ(got[row * stride + col], ref::DotS8(x.data() + row * k, weight.data() + col * k, k))
          << gemm.isa << " m=" << m << " n=" << n << " k=" << k << " row " << row << " column " << col;
    }
    for (int64_t col = blocks * kPackRows; col < stride; ++col) {
      ASSERT_EQ(got[row * stride + col], 99) << "written beyond the blocks";
    }
  }
}

TEST_P(GemmS8Test, PackedOddShapesAndExtremes) {
  if (GetParam()->packed == nullptr) {
    GTEST_SKIP() << GetParam()->isa << " takes weights row by row only";
  }
  for (const int64_t m : {1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 21}) {
    for (const int64_t n : {1, 15, 16, 17, 48, 49, 100}) {
      for (const int64_t k : {1, 2, 3, 4, 5, 15, 16, 17, 63, 64, 80, 161, 320}) {
        for (const Fill fill : {Fill::kRandom, Fill::kAllMin, Fill::kMinAgainstMax}) {
          CheckPacked(*GetParam(), m, n, k, fill);
        }
      }
    }
  }
}

TEST_P(GemmS8Test, PackedLongestRowOfPhi2StaysInInt32) {
  if (GetParam()->packed == nullptr) {
    GTEST_SKIP() << GetParam()->isa << " takes weights row by row only";
  }
  for (const Fill fill : {Fill::kRandom, Fill::kAllMin, Fill::kMinAgainstMax}) {
    CheckPacked(*GetParam(), 9, 50, 10240, fill);
    CheckPacked(*GetParam(), 1, 16, 10243, fill);
  }
}

TEST_P(GemmS8Test, OddShapesAndExtremes) {
  for (const int64_t m : {1, 2, 3, 4, 5, 9}) {
    for (const int64_t n : {1, 5, 6, 7, 13, 20}) {
      for (const int64_t k : {1, 15, 16, 31, 63, 64, 65, 80, 127, 160, 320, 545, 673}) {
        for (const Fill fill : {Fill::kRandom, Fill::kAllMin, Fill::kMinAgainstMax}) {
          Check(*GetParam(), m, n, k, fill);
        }
      }
    }
  }
}

TEST_P(GemmS8Test, LongestRowOfPhi2StaysInInt32) {
  for (const Fill fill : {Fill::kRandom, Fill::kAllMin, Fill::kMinAgainstMax}) {
    Check(*GetParam(), 3, 8, 10240, fill);
    Check(*GetParam(), 1, 8, 10243, fill);
  }
  std::vector<int8_t> min(10240, -128);
  EXPECT_EQ(ref::DotS8(min.data(), min.data(), 10240), 128 * 128 * 10240);
}

std::vector<const GemmS8*> All() {
  std::vector<const GemmS8*> all(AllGemmS8().begin(), AllGemmS8().end());
#if defined(__x86_64__)
  all.push_back(&kAvx512Vnni256GemmS8);
#endif
  return all;
}

INSTANTIATE_TEST_SUITE_P(AllIsas, GemmS8Test, testing::ValuesIn(All()),
                         [](const auto& test) { return std::string(test.param->isa); });

}  // namespace
}  // namespace phidias::cpu
