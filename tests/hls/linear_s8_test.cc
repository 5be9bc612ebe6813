// linear_s8 in every variant of the report's table 6 against ref::LinearS8, bit by bit: odd sizes, the extremes of int8
// and of float, Phi-2's shapes.

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

#include "hls/kernels.h"
#include "numerics/fp_mode.h"
#include "ref/linear_s8.h"
#include "tests/support/kernel_buffers.h"

namespace phidias::hls::test {
namespace {

struct Layer {
  int64_t n = 0;
  int64_t k = 0;
  std::vector<int8_t> weight;  // [n, k]
  std::vector<float> weight_scale;
  std::vector<float> bias;
  float scale = 0.02F;
  int32_t zero_point = -7;
};

Layer RandomLayer(int64_t n, int64_t k, uint64_t seed) {
  Layer layer{.n = n, .k = k, .weight = RandomBytes(n * k, seed), .weight_scale = {}, .bias = {}};
  layer.weight_scale = RandomFloats(n, seed + 1, 0.01F);
  layer.bias = RandomFloats(n, seed + 2);
  return layer;
}

std::vector<float> Expected(const Layer& layer, const std::vector<float>& x) {
  const numerics::ScopedFlushToZero mode;
  std::vector<int8_t> q(x.size());
  std::vector<float> y(static_cast<size_t>(layer.n));
  ref::QuantizeRow(x.data(), layer.k, layer.scale, layer.zero_point, q.data());
  ref::LinearS8(q.data(), layer.scale, layer.zero_point, layer.weight.data(), layer.weight_scale.data(), nullptr,
                layer.bias.data(), layer.n, layer.k, y.data());
  return y;
}

struct Variant {
  const char* name;
  LinearDesign design;
};

std::vector<float> RunKernel(const Variant& variant, const Layer& layer, const std::vector<float>& x) {
  const int banks = variant.design.banks;
  std::vector<DeviceBuffer> w;
  for (int bank = 0; bank < 4; ++bank) {
    w.emplace_back(bank < banks ? LinearBankBytes(layer.n, layer.k, banks) : 0);
    for (int64_t row = 0; bank < banks && row < layer.n; ++row) {
      PackLinearSlice(layer.weight.data() + row * layer.k, layer.k, banks, bank,
                      w[static_cast<size_t>(bank)].As<int8_t>() + row * LinearSliceBytes(layer.k, banks));
    }
  }
  std::vector<int32_t> row_sum(static_cast<size_t>(layer.n));
  for (int64_t row = 0; row < layer.n; ++row) {
    row_sum[static_cast<size_t>(row)] = ref::SumS8(layer.weight.data() + row * layer.k, layer.k);
  }
  DeviceBuffer c(LinearConstantsBytes(layer.n));
  PackLinearConstants(layer.weight_scale.data(), layer.bias.data(), row_sum.data(), layer.n, c.As<uint32_t>());
  DeviceBuffer in(x);
  DeviceBuffer out(VectorBytes(layer.n));
  const auto n = static_cast<int32_t>(layer.n);
  const auto k = static_cast<int32_t>(layer.k);
  const float inv = 1.0F / layer.scale;
  const auto bytes = [&](size_t bank) { return w[bank].As<const int8_t>(); };
  const std::string name = variant.name;
  if (name == "linear_s8_b1w8") {
    linear_s8_b1w8(bytes(0), c.words(), in.words(), out.words(), n, k, inv, layer.scale, layer.zero_point);
  } else if (name == "linear_s8_b4w8") {
    linear_s8_b4w8(bytes(0), bytes(1), bytes(2), bytes(3), c.words(), in.words(), out.words(), n, k, inv, layer.scale,
                   layer.zero_point);
  } else if (name == "linear_s8_b1w512") {
    linear_s8_b1w512(w[0].words(), c.words(), in.words(), out.words(), n, k, inv, layer.scale, layer.zero_point);
  } else {
    linear_s8_b4w512(w[0].words(), w[1].words(), w[2].words(), w[3].words(), c.words(), in.words(), out.words(), n, k,
                     inv, layer.scale, layer.zero_point);
  }
  return out.Floats(layer.n);
}

class LinearS8 : public testing::TestWithParam<Variant> {};

TEST_P(LinearS8, SizesThatFillNeitherBeatsNorGroupsNorBanks) {
  for (const int64_t n : {1, 15, 16, 17, 33}) {
    for (const int64_t k : {1, 63, 64, 65, 160, 257, 320}) {
      const Layer layer = RandomLayer(n, k, static_cast<uint64_t>(1000 * n + k));
      const std::vector<float> x = RandomFloats(k, 5, 4.0F);
      EXPECT_EQ(Bits(RunKernel(GetParam(), layer, x)), Bits(Expected(layer, x))) << n << " x " << k;
    }
  }
}

TEST_P(LinearS8, LargestMagnitudes) {
  constexpr int64_t kRows = 18;
  constexpr int64_t kInputs = 10240;
  Layer layer = RandomLayer(kRows, kInputs, 11);
  for (const int8_t weight : {int8_t{-128}, int8_t{127}}) {
    layer.weight.assign(kRows * kInputs, weight);
    for (const int32_t zero_point : {-128, 0, 127}) {
      layer.zero_point = zero_point;
      for (const float value : {-100.0F, 100.0F}) {  // saturates to -128, to 127
        const std::vector<float> x(kInputs, value);
        EXPECT_EQ(Bits(RunKernel(GetParam(), layer, x)), Bits(Expected(layer, x)))
            << int{weight} << " z " << zero_point << " x " << value;
      }
    }
  }
}

TEST_P(LinearS8, InputsThatAreNoOrdinaryNumbers) {
  const Layer layer = RandomLayer(20, 70, 3);
  std::vector<float> x = RandomFloats(70, 4);
  x[3] = std::numeric_limits<float>::quiet_NaN();
  x[16] = std::numeric_limits<float>::infinity();
  x[17] = -std::numeric_limits<float>::infinity();
  x[40] = std::numeric_limits<float>::denorm_min();
  x[69] = 3e38F;
  EXPECT_EQ(Bits(RunKernel(GetParam(), layer, x)), Bits(Expected(layer, x)));
}

TEST_P(LinearS8, LongestRow) {
  const Layer layer = RandomLayer(3, kMaxInputs, 17);
  const std::vector<float> x = RandomFloats(kMaxInputs, 18, 3.0F);
  EXPECT_EQ(Bits(RunKernel(GetParam(), layer, x)), Bits(Expected(layer, x)));
}

INSTANTIATE_TEST_SUITE_P(Table6, LinearS8,
                         testing::Values(Variant{"linear_s8_b1w8", kLinearB1W8}, Variant{"linear_s8_b4w8", kLinearB4W8},
                                         Variant{"linear_s8_b1w512", kLinearB1W512},
                                         Variant{"linear_s8_b4w512", kLinearB4W512}),
                         [](const auto& param) { return std::string(param.param.name); });

TEST(LinearS8Phi2, AllShapes) {
  for (const auto& [n, k] : {std::pair<int64_t, int64_t>{2560, 2560}, {10240, 2560}, {2560, 10240}}) {
    const Layer layer = RandomLayer(n, k, static_cast<uint64_t>(n));
    const std::vector<float> x = RandomFloats(k, 21, 2.0F);
    const std::vector<uint32_t> expected = Bits(Expected(layer, x));
    EXPECT_EQ(Bits(RunKernel({"linear_s8_b4w512", kLinearB4W512}, layer, x)), expected) << n << " x " << k;
    EXPECT_EQ(Bits(RunKernel({"linear_s8_b1w512", kLinearB1W512}, layer, x)), expected) << n << " x " << k;
  }
}

}  // namespace
}  // namespace phidias::hls::test
