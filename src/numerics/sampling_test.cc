// The integers of numerics/sampling.h against the double arithmetic that they stand for.
#include "numerics/sampling.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace phidias::numerics {
namespace {

struct Candidate {
  float logit;
  int32_t id;
};

std::vector<float> Fractions() {
  std::vector<float> fractions = {1.0F, 0.5F, 0.95F, 0.05F, 1e-9F, 1e-30F, 1.2e-38F, 0.99999994F, 0.9F, 0.1F};
  for (uint64_t i = 0; i < 2000; ++i) {
    const uint64_t bits = RandomBits(3, 0, i);
    fractions.push_back(
        std::ldexp(static_cast<float>(0x800000u | (bits & 0x7fffffu)), -24 - static_cast<int>((bits >> 32) % 40)));
  }
  return fractions;
}

TEST(Sampling, EnoughIsTheDoubleProductRoundedUp) {
  uint64_t i = 0;
  for (const float top_p : Fractions()) {
    for (const int bits : {30, 31, 36, 40, 46, 52}) {
      const uint64_t below = (uint64_t{1} << bits) - 1;
      for (const uint64_t total : {below + 1, below, below + 1 + (RandomBits(4, 0, ++i) & below)}) {
        const double product = static_cast<double>(top_p) * static_cast<double>(total);
        EXPECT_EQ(EnoughWeight(top_p, total), static_cast<uint64_t>(std::ceil(product))) << top_p << " of " << total;
      }
    }
  }
}

// A product a little above an integer that double rounds down to it.
TEST(Sampling, EnoughRoundsAsDoubleDoes) {
  int differ = 0;
  for (uint64_t i = 0; i < 100000; ++i) {
    const float top_p = FloatOf(0x3f000000u | static_cast<uint32_t>(RandomBits(5, 0, i) & 0x7fffffu));
    const uint64_t total = (uint64_t{1} << 40) + (RandomBits(6, 0, i) >> 24);
    const double product = static_cast<double>(top_p) * static_cast<double>(total);
    ASSERT_EQ(EnoughWeight(top_p, total), static_cast<uint64_t>(std::ceil(product)));
    const Fraction p = FractionOf(top_p);
    const __uint128_t exact = static_cast<__uint128_t>(p.significand) * total;
    const auto ceiling = static_cast<uint64_t>((exact + ((__uint128_t{1} << p.shift) - 1)) >> p.shift);
    differ += ceiling != EnoughWeight(top_p, total) ? 1 : 0;
  }
  EXPECT_GT(differ, 0);
}

TEST(Sampling, LeastIsTheDoubleProductRoundedUp) {
  for (const float min_p : Fractions()) {
    EXPECT_EQ(LeastWeight(min_p), static_cast<uint64_t>(std::ceil(static_cast<double>(min_p) * 1073741824.0))) << min_p;
  }
  EXPECT_EQ(LeastWeight(0.0F), 0U);
}

TEST(Sampling, AlmostNoTemperatureTakesTheBest) {
  const Candidate list[] = {{3.0F, 7}, {3.0F, 8}, {-1.0F, 1}};
  uint32_t weights[3];
  const SampleRule rule = {1e-30F, 3, 1.0F, 0.0F};
  const int32_t drawn = SampleCandidate(list, 3, rule, {1, 0}, 5, weights);
  EXPECT_LT(drawn, 2);
  EXPECT_EQ(SampleCandidate(list, 3, {0.0F, 3, 1.0F, 0.0F}, {1, 0}, 5, weights), 0);
}

}  // namespace
}  // namespace phidias::numerics
