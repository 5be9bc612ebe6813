// lm_head in its three weight types against ref::Linear on the decoded weights, bit by bit: odd sizes, every bank empty
// or not, special numbers, Phi-2's shape.

#include <gtest/gtest.h>

#include <limits>

#include "hls/kernels.h"
#include "numerics/fp_mode.h"
#include "numerics/half.h"
#include "ref/ops.h"
#include "tests/support/kernel_buffers.h"

namespace phidias::hls::test {
namespace {

enum class Type { kF16, kBf16, kF32 };

// Weights as stored, and as the float32 that they stand for.
struct Head {
  Type type = Type::kF16;
  int64_t n = 0;
  int64_t k = 0;
  std::vector<uint8_t> stored;
  std::vector<float> decoded;
  std::vector<float> bias;

  int element_bytes() const { return type == Type::kF32 ? 4 : 2; }
};

Head MakeHead(Type type, int64_t n, int64_t k, uint64_t seed) {
  Head head{.type = type, .n = n, .k = k, .stored = {}, .decoded = RandomFloats(n * k, seed), .bias = {}};
  head.bias = RandomFloats(n, seed + 1);
  head.stored.resize(static_cast<size_t>(n * k * head.element_bytes()));
  for (size_t i = 0; i < head.decoded.size(); ++i) {
    float& value = head.decoded[i];
    if (type == Type::kF32) {
      std::memcpy(head.stored.data() + 4 * i, &value, 4);
      continue;
    }
    const uint16_t bits = type == Type::kF16 ? numerics::FloatToHalf(value) : numerics::FloatToBfloat16(value);
    std::memcpy(head.stored.data() + 2 * i, &bits, 2);
    value = type == Type::kF16 ? numerics::HalfToFloat(bits) : numerics::Bfloat16ToFloat(bits);
  }
  return head;
}

std::vector<float> Expected(const Head& head, const std::vector<float>& x) {
  const numerics::ScopedFlushToZero mode;
  std::vector<float> y(static_cast<size_t>(head.n));
  ref::Linear(x.data(), head.decoded.data(), head.bias.empty() ? nullptr : head.bias.data(), head.n, head.k, y.data());
  return y;
}

std::vector<float> RunKernel(const Head& head, const std::vector<float>& x) {
  std::vector<DeviceBuffer> w;
  for (int bank = 0; bank < kLmHeadBanks; ++bank) {
    w.emplace_back(LmHeadBankBytes(head.n, head.k, head.element_bytes(), kLmHeadBanks, bank));
    for (int64_t g = 0; g < LmHeadGroups(head.n, kLmHeadBanks, bank); ++g) {
      PackLmHeadGroup(head.stored.data(), head.n, head.k, head.element_bytes(), bank + kLmHeadBanks * g,
                      w.back().As<uint8_t>() + g * LmHeadGroupBytes(head.k, head.element_bytes()));
    }
  }
  DeviceBuffer bias(head.bias.empty() ? std::vector<float>(static_cast<size_t>(head.n), -0.0F) : head.bias);
  DeviceBuffer in(x);
  DeviceBuffer out(VectorBytes(head.n));
  const auto top = head.type == Type::kF16 ? lm_head_f16 : (head.type == Type::kBf16 ? lm_head_bf16 : lm_head_f32);
  top(w[0].words(), w[1].words(), w[2].words(), w[3].words(), bias.words(), in.words(), out.words(),
      static_cast<int32_t>(head.n), static_cast<int32_t>(head.k));
  return out.Floats(head.n);
}

class LmHead : public testing::TestWithParam<Type> {};

TEST_P(LmHead, SizesThatFillNeitherGroupsNorBanks) {
  for (const int64_t n : {1, 16, 17, 49, 64, 130}) {
    for (const int64_t k : {1, 15, 16, 17, 31, 33, 160, 321}) {
      const Head head = MakeHead(GetParam(), n, k, static_cast<uint64_t>(1000 * n + k));
      const std::vector<float> x = RandomFloats(k, 5, 4.0F);
      EXPECT_EQ(Bits(RunKernel(head, x)), Bits(Expected(head, x))) << n << " x " << k;
    }
  }
}

TEST_P(LmHead, WithoutBiases) {
  Head head = MakeHead(GetParam(), 40, 33, 9);
  head.bias.clear();
  // All products of the first row are -0: without a bias, the sum keeps what the contract gives it.
  for (int64_t k = 0; k < head.k; ++k) {
    head.decoded[static_cast<size_t>(k)] = -0.0F;
    const uint8_t sign = 0x80;
    std::memset(head.stored.data() + k * head.element_bytes(), 0, static_cast<size_t>(head.element_bytes()));
    head.stored[static_cast<size_t>((k + 1) * head.element_bytes() - 1)] = sign;
  }
  const std::vector<float> x(33, 1.0F);
  EXPECT_EQ(Bits(RunKernel(head, x)), Bits(Expected(head, x)));
}

TEST_P(LmHead, NumbersThatAreNotOrdinary) {
  const Head head = MakeHead(GetParam(), 33, 50, 13);
  for (const float special : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                              std::numeric_limits<float>::denorm_min(), 3e38F, -3e38F, -0.0F}) {
    std::vector<float> x = RandomFloats(50, 14);
    x[0] = special;
    x[49] = special;
    EXPECT_EQ(Bits(RunKernel(head, x)), Bits(Expected(head, x))) << special;
  }
}

INSTANTIATE_TEST_SUITE_P(Types, LmHead, testing::Values(Type::kF16, Type::kBf16, Type::kF32));

// Every half, subnormal and infinite ones included, as a weight.
TEST(LmHeadF16, EveryHalf) {
  constexpr int64_t kHalves = 65536;
  Head head{.type = Type::kF16, .n = kHalves, .k = 1, .stored = {}, .decoded = {}, .bias = {}};
  head.stored.resize(2 * kHalves);
  head.decoded.resize(kHalves);
  for (int64_t i = 0; i < kHalves; ++i) {
    const auto bits = static_cast<uint16_t>(i);
    std::memcpy(head.stored.data() + 2 * i, &bits, 2);
    head.decoded[static_cast<size_t>(i)] = numerics::HalfToFloat(bits);
  }
  EXPECT_EQ(Bits(RunKernel(head, {1.5F})), Bits(Expected(head, {1.5F})));
}

TEST(LmHeadF16, Phi2) {
  const Head head = MakeHead(Type::kF16, 51200, 2560, 23);
  const std::vector<float> x = RandomFloats(2560, 24, 3.0F);
  EXPECT_EQ(Bits(RunKernel(head, x)), Bits(Expected(head, x)));
}

}  // namespace
}  // namespace phidias::hls::test
