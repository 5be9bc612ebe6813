// The integer arithmetic's elements against double precision: each within the rounding that its definition allows, at
// the extremes too.
#include "numerics/integer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "numerics/integer_setup.h"
#include "numerics/random.h"

namespace phidias::numerics {
namespace {

int64_t Random(uint64_t stream, uint64_t at, int64_t limit) {
  return static_cast<int64_t>(ScaleBits(RandomBits(5, stream, at), 2 * static_cast<uint64_t>(limit) + 1)) - limit;
}

TEST(Integer, FixedFactorHoldsThirtyOneBits) {
  for (uint64_t i = 0; i < 20000; ++i) {
    const double factor = std::ldexp(1.0 + static_cast<double>(RandomBits(1, 1, i) >> 12) / 4503599627370496.0,
                                     static_cast<int>(Random(2, i, 29)) - 1);
    const FixedFactor fixed = MakeFixedFactor(factor);
    ASSERT_GE(fixed.multiplier, 1 << 30) << factor;
    ASSERT_GE(fixed.shift, 1);
    ASSERT_LE(fixed.shift, 62);
    ASSERT_NEAR(std::ldexp(static_cast<double>(fixed.multiplier), -fixed.shift) / factor, 1.0, 1e-9);
  }
  EXPECT_EQ(MakeFixedFactor(0).multiplier, 0);
  EXPECT_EQ(MakeFixedFactor(-1).multiplier, 0);
  EXPECT_EQ(MakeFixedFactor(1e-20).multiplier, 0);
  EXPECT_EQ(MakeFixedFactor(std::nan("")).multiplier, 0);
  EXPECT_EQ(MakeFixedFactor(1.0).multiplier, 1 << 30);
  EXPECT_EQ(MakeFixedFactor(1.0 - 1e-12).multiplier, 1 << 30);  // rounds up to 2^31, halved
  EXPECT_GE(MakeFixedFactor(1e30).multiplier, 1 << 30);         // saturates
}

TEST(Integer, MultiplyFixedRoundsToTheNearest) {
  for (uint64_t i = 0; i < 20000; ++i) {
    const int64_t value = Random(3, i, 0x7fffffff);
    const FixedFactor factor = {static_cast<int32_t>((1 << 30) + Random(4, i, 1 << 29) + (1 << 29)),
                                31 + static_cast<int32_t>(ScaleBits(RandomBits(5, 6, i), 32))};
    const long double exact = static_cast<long double>(value) * factor.multiplier / std::pow(2.0L, factor.shift);
    ASSERT_LE(std::abs(static_cast<double>(static_cast<long double>(MultiplyFixed(value, factor)) - exact)), 0.5);
  }
}

TEST(Integer, SquareRootIsTheFloor) {
  for (uint64_t i = 0; i < 5000; ++i) {
    const uint64_t value = RandomBits(7, 1, i) >> (i % 64);
    const uint64_t root = SquareRoot64(value);
    ASSERT_LE(root * root, value);
    if (root != 0xffffffffu) {
      ASSERT_GT((root + 1) * (root + 1), value);
    }
  }
  EXPECT_EQ(SquareRoot64(~uint64_t{0}), 0xffffffffu);
  EXPECT_EQ(SquareRoot64(0), 0u);
}

TEST(Integer, InverseSquareRootHasThirtyBits) {
  for (uint64_t i = 0; i < 5000; ++i) {
    const uint64_t value = (RandomBits(7, 2, i) >> (i % 64)) | 1;
    const FixedFactor inverse = InverseSquareRoot(value);
    const double got = std::ldexp(static_cast<double>(inverse.multiplier), -inverse.shift);
    ASSERT_NEAR(got * std::sqrt(static_cast<double>(value)), 1.0, std::ldexp(1.0, -29)) << value;
    ASSERT_GE(inverse.shift - kNormBits, 7);
  }
}

TEST(Integer, EmbedSaturates) {
  EXPECT_EQ(EmbedElement(1.0f, 12), 4096);
  EXPECT_EQ(EmbedElement(-0.0001220703125f, 12), 0);  // half a step, to even
  EXPECT_EQ(EmbedElement(-0.00012208f, 12), -1);
  EXPECT_EQ(EmbedElement(1e30f, 12), kResidualMax);
  EXPECT_EQ(EmbedElement(-1e30f, 12), -kResidualMax);
}

TEST(Integer, ResidualSaturatesAndCounts) {
  int64_t saturated = 0;
  EXPECT_EQ(AddResidual(5, -7, 10, &saturated), 8);
  EXPECT_EQ(saturated, 0);
  EXPECT_EQ(AddResidual(kResidualMax, 1 << 30, 1 << 30, &saturated), kResidualMax);
  EXPECT_EQ(AddResidual(-kResidualMax, -1, 0, &saturated), -kResidualMax);
  EXPECT_EQ(saturated, 2);
}

TEST(Integer, PlanesPutTogether) {
  for (int32_t value = -32768; value <= 32767; ++value) {
    ASSERT_EQ(256 * HighPlane(value) + LowPlane(value) + 128, value);
    ASSERT_TRUE(HighPlane(value) >= -128 && HighPlane(value) <= 127);
    ASSERT_TRUE(LowPlane(value) >= -128 && LowPlane(value) <= 127);
  }
}

TEST(Integer, ProbabilityIsAPowerOfTwoInTwelveBits) {
  int32_t table[kExpTableSize];
  MakeExpTable(table);
  for (const double step : {0.3, 0.011, 7.0}) {
    const FixedFactor to_steps = MakeFixedFactor(step);
    EXPECT_EQ(Probability(0, to_steps, table), kProbabilityMax);
    for (int32_t difference = 0; difference < 3000000; difference = difference * 2 + 1) {
      const double x = static_cast<double>(MultiplyFixed(difference, to_steps)) / kExpTableSize;
      ASSERT_NEAR(x, difference * step / kExpTableSize, 0.501 / kExpTableSize);
      ASSERT_NEAR(Probability(difference, to_steps, table), kProbabilityMax * std::exp2(-x), 0.51) << difference;
    }
  }
}

TEST(Integer, InverseSumAndAttentionElement) {
  for (const int32_t sum : {4095, 4096, 5000, 1 << 20, 4095 * 4096}) {
    const FixedFactor inverse = InverseSum(sum);
    ASSERT_NEAR(std::ldexp(static_cast<double>(inverse.multiplier), -inverse.shift) * sum, 1.0, 1e-9) << sum;
    for (const double ratio : {0.02, 0.9, 3.7}) {
      const FixedFactor fixed = MakeFixedFactor(ratio);
      for (int32_t mean = -128; mean <= 127; mean += 5) {
        const double exact = std::clamp(mean * ratio - 7, -128.0, 127.0);
        ASSERT_NEAR(AttentionElement(static_cast<int32_t>(static_cast<int64_t>(mean) * sum), inverse, fixed, -7), exact,
                    0.51);
      }
    }
  }
  // The largest sums of a full context.
  const int32_t sum = 4095 * 4096;
  EXPECT_EQ(AttentionElement(sum * -128 / 1, InverseSum(sum), MakeFixedFactor(1.0), 0), -128);
}

TEST(Integer, RotationOfTheLargestStaysInRange) {
  int32_t low = 0;
  int32_t high = 0;
  RotateS16(11585, 11585, 32767, 32767, &low, &high);  // 45 degrees
  EXPECT_EQ(low, 0);
  EXPECT_EQ(high, 127);
  RotateS16(16384, 0, -12800, 6400, &low, &high);
  EXPECT_EQ(low, -100);
  EXPECT_EQ(high, 50);
  EXPECT_EQ(NarrowS16(-32767), -127);
  EXPECT_EQ(NarrowS16(192), 2);  // 1.5 to even
  EXPECT_EQ(NarrowS16(64), 0);   // 0.5 to even
}

TEST(Integer, GeluTableFollowsTheFunction) {
  int8_t table[256];
  MakeGeluTable(0.05f, -30, 0.04f, -124, table);
  for (int32_t q = -128; q <= 127; ++q) {
    const double x = 0.05 * (q + 30);
    const double y = 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    ASSERT_NEAR(table[q + 128], std::clamp(y / 0.04 - 124, -128.0, 127.0), 0.51) << q;
  }
}

}  // namespace
}  // namespace phidias::numerics
