// layernorm, gelu and residual against ref/, bit by bit.

#include <gtest/gtest.h>

#include <limits>

#include "hls/kernels.h"
#include "numerics/fp_mode.h"
#include "ref/ops.h"
#include "tests/support/kernel_buffers.h"

namespace phidias::hls::test {
namespace {

constexpr int64_t kSizes[] = {1, 15, 16, 17, 160, 320, 2560, 2561, kMaxHidden};

// Ordinary numbers with special ones between them.
std::vector<float> WithSpecials(int64_t n, uint64_t seed) {
  std::vector<float> x = RandomFloats(n, seed, 8.0F);
  const float specials[] = {0.0F,
                            -0.0F,
                            std::numeric_limits<float>::denorm_min(),
                            1e-38F,
                            3e38F,
                            -3e38F,
                            std::numeric_limits<float>::infinity(),
                            -std::numeric_limits<float>::infinity(),
                            std::numeric_limits<float>::quiet_NaN(),
                            88.0F,
                            -88.0F};
  for (size_t i = 0; i < std::size(specials) && 3 * i < x.size(); ++i) {
    x[3 * i] = specials[i];
  }
  return x;
}

std::vector<float> RunLayerNorm(const std::vector<float>& x, const std::vector<float>& weight,
                                const std::vector<float>& bias, float eps) {
  const auto n = static_cast<int64_t>(x.size());
  DeviceBuffer in(x);
  DeviceBuffer constants(NormConstantsBytes(n));
  PackNormConstants(weight.data(), bias.data(), n, constants.As<float>());
  DeviceBuffer out(VectorBytes(n));
  layernorm(in.words(), constants.words(), out.words(), static_cast<int32_t>(n), eps);
  return out.Floats(n);
}

std::vector<float> ExpectedLayerNorm(const std::vector<float>& x, const std::vector<float>& weight,
                                     const std::vector<float>& bias, float eps) {
  const numerics::ScopedFlushToZero mode;
  std::vector<float> y(x.size());
  ref::LayerNorm(x.data(), weight.data(), bias.data(), eps, static_cast<int64_t>(x.size()), y.data());
  return y;
}

TEST(LayerNormKernel, Sizes) {
  for (const int64_t n : kSizes) {
    const std::vector<float> x = RandomFloats(n, 1, 30.0F);
    const std::vector<float> weight = RandomFloats(n, 2);
    const std::vector<float> bias = RandomFloats(n, 3);
    EXPECT_EQ(Bits(RunLayerNorm(x, weight, bias, 1e-5F)), Bits(ExpectedLayerNorm(x, weight, bias, 1e-5F))) << n;
  }
}

TEST(LayerNormKernel, RowsWithoutVarianceAndWithTooMuch) {
  const std::vector<float> weight = RandomFloats(40, 2);
  const std::vector<float> bias = RandomFloats(40, 3);
  std::vector<float> huge = RandomFloats(40, 4, 3e38F);
  std::vector<float> broken = RandomFloats(40, 5);
  broken[39] = std::numeric_limits<float>::quiet_NaN();
  for (const std::vector<float>& x :
       {std::vector<float>(40, 0.0F), std::vector<float>(40, -7.25F), std::vector<float>(40, 1e-40F), huge, broken}) {
    EXPECT_EQ(Bits(RunLayerNorm(x, weight, bias, 1e-5F)), Bits(ExpectedLayerNorm(x, weight, bias, 1e-5F))) << x[0];
  }
}

TEST(GeluKernel, SizesAndSpecialNumbers) {
  for (const int64_t n : {int64_t{1}, int64_t{16}, int64_t{33}, int64_t{1280}, int64_t{10240}}) {
    const std::vector<float> x = WithSpecials(n, 7);
    DeviceBuffer in(x);
    DeviceBuffer out(VectorBytes(n));
    gelu(in.words(), out.words(), static_cast<int32_t>(n));
    const numerics::ScopedFlushToZero mode;
    std::vector<float> expected(x.size());
    ref::Gelu(x.data(), n, expected.data());
    EXPECT_EQ(Bits(out.Floats(n)), Bits(expected)) << n;
  }
}

TEST(ResidualKernel, SizesAndSpecialNumbersInPlaceOrNot) {
  for (const int64_t n : kSizes) {
    const std::vector<float> att = WithSpecials(n, 8);
    const std::vector<float> mlp = RandomFloats(n, 9);
    std::vector<float> expected = RandomFloats(n, 10, 50.0F);
    DeviceBuffer a(att);
    DeviceBuffer m(mlp);
    DeviceBuffer x(expected);
    DeviceBuffer y(VectorBytes(n));
    residual(a.words(), m.words(), x.words(), y.words(), static_cast<int32_t>(n));
    residual(a.words(), m.words(), x.words(), x.words(), static_cast<int32_t>(n));
    const numerics::ScopedFlushToZero mode;
    ref::AddResidual(att.data(), mlp.data(), n, expected.data());
    EXPECT_EQ(Bits(y.Floats(n)), Bits(expected)) << n;
    EXPECT_EQ(Bits(x.Floats(n)), Bits(expected)) << n;
  }
}

}  // namespace
}  // namespace phidias::hls::test
