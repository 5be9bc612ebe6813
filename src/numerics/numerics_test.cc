// The specification against independent oracles: libm in double precision, the compiler's own conversions, the
// published Philox vectors. Exhaustive where the domain allows.
#include <gtest/gtest.h>

#include <cfenv>
#include <cmath>
#include <cstring>
#include <limits>

#include "numerics/bits.h"
#include "numerics/elementary.h"
#include "numerics/fp_mode.h"
#include "numerics/half.h"
#include "numerics/random.h"
#include "numerics/reduce.h"
#include "numerics/rotary.h"
#include "numerics/rounding.h"

namespace phidias::numerics {
namespace {

double UlpError(float got, double want) {
  const double ulp = std::ldexp(1.0, std::max(std::ilogb(want), -126) - 23);
  return std::abs(static_cast<double>(got) - want) / ulp;
}

TEST(Numerics, HalfToFloatIsExactForEveryHalf) {
  for (uint32_t bits = 0; bits < 0x10000u; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    const float got = HalfToFloat(half);
    const int exponent = static_cast<int>((bits >> 10) & 31u);
    const double fraction = static_cast<double>(bits & 1023u);
    const double sign = (bits & 0x8000u) != 0 ? -1.0 : 1.0;
    if (exponent == 31) {
      EXPECT_EQ(std::isnan(got), fraction != 0);
      EXPECT_EQ(std::isinf(got), fraction == 0);
    } else {
      const double want =
          sign * (exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024.0 + fraction, exponent - 25));
      ASSERT_EQ(static_cast<double>(got), want) << bits;
    }
    EXPECT_EQ(std::signbit(got), sign < 0);
  }
}

TEST(Numerics, HalfRoundTripsAndRoundsHalfToEven) {
  for (uint32_t bits = 0; bits < 0x7c00u; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    ASSERT_EQ(FloatToHalf(HalfToFloat(half)), half);
    // The midpoint to the next half goes to the even one; its neighbours go to the nearer.
    const float low = HalfToFloat(half);
    const float high = bits == 0x7bffu ? 65536.0f : HalfToFloat(static_cast<uint16_t>(bits + 1));
    const float middle = low + (high - low) / 2;
    const auto even = static_cast<uint16_t>((bits & 1u) != 0 ? bits + 1 : bits);
    ASSERT_EQ(FloatToHalf(middle), even) << bits;
    ASSERT_EQ(FloatToHalf(std::nextafter(middle, low)), half) << bits;
    ASSERT_EQ(FloatToHalf(std::nextafter(middle, high)), bits + 1) << bits;
  }
  EXPECT_EQ(FloatToHalf(-65520.0f), 0xfc00u);
  EXPECT_TRUE(std::isnan(HalfToFloat(FloatToHalf(std::nanf("")))));
  EXPECT_EQ(FloatToHalf(-0.0f), 0x8000u);
}

TEST(Numerics, Bfloat16RoundsHalfToEven) {
  EXPECT_EQ(FloatToBfloat16(1.0f), 0x3f80u);
  EXPECT_EQ(FloatToBfloat16(FloatOf(0x3f808000u)), 0x3f80u);
  EXPECT_EQ(FloatToBfloat16(FloatOf(0x3f818000u)), 0x3f82u);
  EXPECT_EQ(FloatToBfloat16(FloatOf(0x3f808001u)), 0x3f81u);
  EXPECT_TRUE(std::isnan(Bfloat16ToFloat(FloatToBfloat16(FloatOf(0x7f800001u)))));
  EXPECT_EQ(FloatToBfloat16(FloatOf(0x7f7fffffu)), 0x7f80u);
}

TEST(Numerics, RoundHalfEvenEqualsTheIeeeRounding) {
  for (uint64_t step = 0; step < 4000000; ++step) {
    const auto bits = static_cast<uint32_t>(step * 1074791u);
    const float value = FloatOf(bits);
    if (!(std::abs(value) < 2147483648.0f)) {
      continue;
    }
    ASSERT_EQ(RoundHalfEven(value), static_cast<int64_t>(std::nearbyint(static_cast<double>(value)))) << value;
  }
  for (const float half : {0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -2.5f, 127.5f, -128.5f, 8388607.5f}) {
    EXPECT_EQ(RoundHalfEven(half), static_cast<int32_t>(std::nearbyint(half)));
  }
  EXPECT_EQ(RoundHalfEven(std::nanf("")), 0);
}

TEST(Numerics, ShiftRightHalfEven) {
  EXPECT_EQ(ShiftRightHalfEven(5, 1), 2);
  EXPECT_EQ(ShiftRightHalfEven(7, 1), 4);
  EXPECT_EQ(ShiftRightHalfEven(-5, 1), -2);
  EXPECT_EQ(ShiftRightHalfEven(-7, 1), -4);
  EXPECT_EQ(ShiftRightHalfEven(-6, 2), -2);
  EXPECT_EQ(ShiftRightHalfEven(-7, 0), -7);
  for (int64_t value = -5000; value <= 5000; ++value) {
    ASSERT_EQ(ShiftRightHalfEven(value, 4), static_cast<int64_t>(std::nearbyint(static_cast<double>(value) / 16.0)));
  }
}

TEST(Numerics, ExpIsWithinTwoUlp) {
  const ScopedFlushToZero mode;
  double worst = 0;
  for (float x = ExpConstants::kLow; x < ExpConstants::kHigh; x += 0.00037f) {
    worst = std::max(worst, UlpError(Exp(x), std::exp(static_cast<double>(x))));
  }
  EXPECT_LT(worst, 2.0);
  EXPECT_EQ(Exp(0.0f), 1.0f);
  EXPECT_EQ(Exp(-87.31f), 0.0f);
  EXPECT_EQ(Exp(-std::numeric_limits<float>::infinity()), 0.0f);
  EXPECT_EQ(Exp(1000.0f), Exp(ExpConstants::kHigh));
  EXPECT_TRUE(std::isfinite(Exp(1000.0f)));
  EXPECT_GE(Exp(ExpConstants::kLow), std::numeric_limits<float>::min());
  EXPECT_TRUE(std::isnan(Exp(std::nanf(""))));
}

TEST(Numerics, GeluNewFollowsItsDefinition) {
  const ScopedFlushToZero mode;
  for (double x = -12; x < 12; x += 0.00071) {
    const auto value = static_cast<float>(x);
    const double u = std::sqrt(2.0 / M_PI) * (value + 0.044715 * std::pow(static_cast<double>(value), 3));
    const double want = 0.5 * value * (1.0 + std::tanh(u));
    ASSERT_NEAR(GeluNew(value), want, 4e-7 * std::max(1.0, std::abs(want))) << x;
  }
  EXPECT_EQ(GeluNew(0.0f), 0.0f);
  EXPECT_NEAR(GeluNew(-1e20f), 0.0f, 1e-15);
  EXPECT_EQ(GeluNew(1e20f), 1e20f);
}

TEST(Numerics, TreeSumFoldsHalves) {
  // Values whose sum depends on the order, so that another tree would be noticed.
  float lanes[kLanes];
  for (int i = 0; i < kLanes; ++i) {
    lanes[i] = (i % 2 != 0 ? -1.0f : 1.0f) * std::pow(7.3f, static_cast<float>(i % 8)) + 0.1f * static_cast<float>(i);
  }
  float fold[kLanes];
  std::memcpy(fold, lanes, sizeof fold);
  for (int width = 8; width >= 1; width /= 2) {
    for (int i = 0; i < width; ++i) {
      fold[i] += fold[i + width];
    }
  }
  EXPECT_EQ(TreeSum(lanes), fold[0]);
}

TEST(Numerics, FlushToZeroModeFlushesAndIsUndone) {
  volatile float tiny = std::numeric_limits<float>::min();
  {
    const ScopedFlushToZero mode;
    volatile float half = tiny * 0.5f;
    EXPECT_EQ(half, 0.0f);
    volatile float subnormal = FloatOf(0x00400000u);
    volatile float sum = subnormal + tiny;
    EXPECT_EQ(BitsOf(sum), BitsOf(tiny));
  }
  volatile float half = tiny * 0.5f;
  EXPECT_NE(BitsOf(half), 0u);
  EXPECT_EQ(BitsOf(FlushSubnormal(FloatOf(0x80000001u))), 0x80000000u);
  EXPECT_EQ(FlushSubnormal(1.5f), 1.5f);
}

// Known answers distributed with Random123 (kat_vectors, philox4x32 10).
TEST(Numerics, PhiloxKnownAnswers) {
  const PhiloxBlock zero = Philox4x32({{0, 0, 0, 0}}, 0, 0);
  EXPECT_EQ(zero.word[0], 0x6627e8d5u);
  EXPECT_EQ(zero.word[1], 0xe169c58du);
  EXPECT_EQ(zero.word[2], 0xbc57ac4cu);
  EXPECT_EQ(zero.word[3], 0x9b00dbd8u);
  const uint32_t ones = 0xffffffffu;
  const PhiloxBlock full = Philox4x32({{ones, ones, ones, ones}}, ones, ones);
  EXPECT_EQ(full.word[0], 0x408f276du);
  EXPECT_EQ(full.word[1], 0x41c83b0eu);
  EXPECT_EQ(full.word[2], 0xa20bc7c6u);
  EXPECT_EQ(full.word[3], 0x6d5451fdu);
  const PhiloxBlock pi = Philox4x32({{0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u}}, 0xa4093822u, 0x299f31d0u);
  EXPECT_EQ(pi.word[0], 0xd16cfe09u);
  EXPECT_EQ(pi.word[1], 0x94fdccebu);
  EXPECT_EQ(pi.word[2], 0x5001e420u);
  EXPECT_EQ(pi.word[3], 0x24126ea1u);
}

TEST(Numerics, MultiplyHighAndScale) {
  for (uint64_t i = 0; i < 1000; ++i) {
    const uint64_t a = RandomBits(1, 2, i);
    const uint64_t b = RandomBits(3, 4, i);
    __extension__ using Wide = unsigned __int128;
    ASSERT_EQ(MultiplyHigh(a, b), static_cast<uint64_t>((static_cast<Wide>(a) * b) >> 64));
    ASSERT_LT(ScaleBits(a, 17), 17u);
  }
  EXPECT_EQ(ScaleBits(~uint64_t{0}, 5), 4u);
  EXPECT_EQ(ScaleBits(0, 5), 0u);
}

TEST(Numerics, RotaryTableEqualsLibm) {
  for (const int32_t rotary_dim : {2, 10, 32, 64, 128}) {
    for (int32_t i = 0; i < rotary_dim / 2; ++i) {
      const float exponent = static_cast<float>(2 * i) / static_cast<float>(rotary_dim);
      const auto power = static_cast<float>(std::pow(10000.0, static_cast<double>(exponent)));
      const float inv_freq = RotaryInverseFrequency(i, rotary_dim, 10000.0);
      ASSERT_EQ(inv_freq, 1.0f / power);
      for (int32_t pos = 0; pos < 1 << 20; pos = pos * 2 + 1) {
        float cos_value = 0;
        float sin_value = 0;
        RotaryEntry(pos, inv_freq, &cos_value, &sin_value);
        const double angle = static_cast<double>(static_cast<float>(pos) * inv_freq);
        ASSERT_EQ(cos_value, static_cast<float>(std::cos(angle))) << pos << " " << i;
        ASSERT_EQ(sin_value, static_cast<float>(std::sin(angle))) << pos << " " << i;
      }
    }
  }
  EXPECT_EQ(RotaryInverseFrequency(0, 32, 1e6), 1.0f);
}

}  // namespace
}  // namespace phidias::numerics
