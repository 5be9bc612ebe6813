// The products behind --fast-float: not the contract's bits, but within the bounds of their rounding of a float64 sum.
#include "backend/cpu/fast_linear.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "common/str.h"
#include "numerics/half.h"
#include "numerics/random.h"
#include "ref/decode_row.h"
#include "ref/linear_s8.h"

namespace phidias::cpu {
namespace {

float Unit(uint64_t stream, int64_t at) {
  const uint64_t bits = numerics::RandomBits(21, stream, static_cast<uint64_t>(at));
  return static_cast<float>(static_cast<int64_t>(bits & 0xffffff) - 0x800000) / 8388608.0F;
}

std::vector<std::byte> Stored(DType dtype, int64_t elements) {
  std::vector<std::byte> out(static_cast<size_t>(DTypeBytes(dtype, elements)));
  for (int64_t i = 0; i < elements; ++i) {
    const float value = Unit(1, i);
    if (dtype == DType::kF32) {
      std::memcpy(out.data() + 4 * i, &value, 4);
    } else if (dtype == DType::kI8) {
      out[i] = static_cast<std::byte>(static_cast<int8_t>(value * 127));
    } else {
      const uint16_t half = dtype == DType::kF16 ? numerics::FloatToHalf(value) : numerics::FloatToBfloat16(value);
      std::memcpy(out.data() + 2 * i, &half, 2);
    }
  }
  return out;
}

// `epsilon`: relative rounding of one factor.
void Check(const FastLinear& linear, DType dtype, int64_t m, int64_t n, int64_t k, double epsilon) {
  const std::vector<std::byte> weight = Stored(dtype, n * k);
  const std::vector<float> scale(static_cast<size_t>(n), 0.0078125F);
  const std::vector<float> bias(static_cast<size_t>(n), 0.25F);
  std::vector<float> x(static_cast<size_t>(m * k));
  for (size_t i = 0; i < x.size(); ++i) {
    x[i] = Unit(2, static_cast<int64_t>(i));
  }
  std::vector<float> y(static_cast<size_t>(m * n), -77.0F);
  std::vector<float> scratch(static_cast<size_t>(linear.scratch_floats(k)));
  const LinearArgs args = {.x = x.data(),
                           .m = m,
                           .k = k,
                           .weight_dtype = dtype,
                           .weight = weight.data(),
                           .weight_row_bytes = DTypeBytes(dtype, k),
                           .weight_scale = scale.data(),
                           .bias = bias.data(),
                           .y = y.data(),
                           .y_stride = n};
  linear.run(args, 0, n / 2, scratch.data());
  linear.run(args, n / 2, n, scratch.data());
  std::vector<float> row(static_cast<size_t>(k));
  for (int64_t j = 0; j < n; ++j) {
    const std::byte* stored = weight.data() + j * DTypeBytes(dtype, k);
    if (dtype == DType::kI8) {
      ref::DequantizeRow(reinterpret_cast<const int8_t*>(stored), k, scale[j], 0, row.data());
    } else {
      ref::DecodeRow(dtype, stored, k, row.data());
    }
    for (int64_t i = 0; i < m; ++i) {
      double sum = bias[j];
      double magnitude = 0.25;
      for (int64_t t = 0; t < k; ++t) {
        const double term = static_cast<double>(x[i * k + t]) * static_cast<double>(row[t]);
        sum += term;
        magnitude += std::abs(term);
      }
      // Two factors rounded, and k float32 additions.
      const double bound = magnitude * (2 * epsilon + static_cast<double>(k + 2) * 0x1p-24);
      ASSERT_NEAR(static_cast<double>(y[i * n + j]), sum, bound)
          << linear.name << " " << linear.isa << " " << DTypeName(dtype) << " m=" << m << " n=" << n << " k=" << k;
    }
  }
}

#if defined(__x86_64__)
TEST(FastLinear, StaysWithinItsRounding) {
  for (const FastLinear* linear : {&kAvx512Bf16Linear, &kAvx512FmaLinear, &kAvx2FmaLinear}) {
    if (!linear->supported()) {
      continue;
    }
    const double epsilon = std::string_view(linear->name) == "bf16" ? 0x1p-8 : 0.0;
    for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kI8}) {
      for (const int64_t m : {1, 2, 4, 7, 65, 130}) {
        Check(*linear, dtype, m, 13, 80, epsilon);
      }
      for (const int64_t k : {1, 15, 16, 31, 32, 33, 63, 257}) {
        Check(*linear, dtype, 5, 7, k, epsilon);
      }
    }
  }
}
#endif

TEST(FastLinear, GoesWithTheKernelsOfItsInstructionSet) {
  EXPECT_EQ(FindFastLinear(kPortableKernels), nullptr);
  EXPECT_EQ(FindFastLinear(kReferenceKernels), nullptr);
#if defined(__x86_64__)
  for (const Kernels* kernels : {&kAvx512Kernels, &kAvx2Kernels}) {
    const FastLinear* const found = FindFastLinear(*kernels);
    if (found != nullptr) {
      EXPECT_STREQ(found->isa, kernels->isa);
    }
  }
#endif
}

}  // namespace
}  // namespace phidias::cpu
