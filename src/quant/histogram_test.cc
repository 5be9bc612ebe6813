// The observer's histogram: counts depend on the set of values alone, merging is exact, quantiles lie within a bin of
// the sorted values'.
#include "quant/histogram.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "numerics/random.h"

namespace phidias {
namespace {

// Values over many orders of magnitude, both signs.
std::vector<float> Values(uint64_t seed, size_t count) {
  std::vector<float> out(count);
  for (size_t i = 0; i < count; ++i) {
    const uint64_t bits = numerics::RandomBits(seed, 0, i);
    const double uniform = static_cast<double>(bits >> 40) / (1 << 24);
    out[i] = static_cast<float>(std::pow(10.0, 6 * uniform - 4) * ((bits & 1) != 0 ? 1 : -1));
  }
  return out;
}

std::vector<float> Shuffled(std::vector<float> values, uint64_t seed) {
  for (size_t i = values.size(); i > 1; --i) {
    std::swap(values[i - 1], values[numerics::ScaleBits(numerics::RandomBits(seed, 1, i), i)]);
  }
  return values;
}

TEST(Histogram, DoesNotDependOnTheOrderOfValuesNorOnHowTheyArrive) {
  const std::vector<float> values = Values(1, 5000);
  Histogram want;
  want.Add(values);
  EXPECT_EQ(want.count(), 5000);
  for (uint64_t seed = 0; seed < 5; ++seed) {
    Histogram one_by_one;
    for (const float value : Shuffled(values, seed)) {
      one_by_one.Add({&value, 1});
    }
    EXPECT_EQ(one_by_one, want) << seed;
  }
}

TEST(Histogram, MergesExactlyInAnyOrder) {
  std::vector<Histogram> parts(4);
  Histogram want;
  for (size_t i = 0; i < parts.size(); ++i) {
    std::vector<float> values = Values(10 + i, 700 * i);  // the first is empty
    for (float& value : values) {
      value *= std::ldexp(1.0F, static_cast<int>(9 * i));
    }
    parts[i].Add(values);
    want.Add(values);
  }
  std::vector<size_t> order = {0, 1, 2, 3};
  do {
    Histogram merged;
    for (const size_t i : order) {
      merged.Merge(parts[i]);
    }
    EXPECT_EQ(merged, want);
    Histogram left = parts[order[0]];
    left.Merge(parts[order[1]]);
    Histogram right = parts[order[2]];
    right.Merge(parts[order[3]]);
    left.Merge(right);
    EXPECT_EQ(left, want);
  } while (std::next_permutation(order.begin(), order.end()));
}

TEST(Histogram, QuantilesLieWithinABinOfTheSortedValues) {
  std::vector<float> values = Values(3, 20000);
  Histogram h;
  h.Add(values);
  std::sort(values.begin(), values.end());
  EXPECT_EQ(h.min(), values.front());
  EXPECT_EQ(h.max(), values.back());
  EXPECT_EQ(h.Quantile(0), values.front());
  EXPECT_EQ(h.Quantile(1), values.back());
  for (const double p : {0.001, 0.01, 0.3, 0.5, 0.77, 0.99, 0.999}) {
    const float exact = values[static_cast<size_t>(p * 20000) - 1];
    EXPECT_NEAR(h.Quantile(p), exact, h.bin_width()) << p;
  }
  EXPECT_LE(h.bin_width(), h.absmax() / (Histogram::kBins / 2));
}

TEST(Histogram, ExtremesOfTheFormatFit) {
  const float most = std::numeric_limits<float>::max();
  Histogram h;
  const std::vector<float> values = {most, -most, 0.0F, -0.0F, std::numeric_limits<float>::denorm_min(), 1e-38F};
  h.Add(values);
  EXPECT_EQ(h.count(), 6);
  EXPECT_EQ(h.max(), most);
  EXPECT_EQ(h.Quantile(0.5), 0.0F + h.Quantile(0.5));
  Histogram zeros;
  const std::vector<float> zero(10, 0.0F);
  zeros.Add(zero);
  EXPECT_EQ(zeros.Quantile(0.5), 0.0F);
  EXPECT_EQ(zeros.absmax(), 0.0F);
  EXPECT_EQ(Histogram().Quantile(0.5), 0.0F);
}

TEST(Histogram, CountsWhatIsNotFinite) {
  const float inf = std::numeric_limits<float>::infinity();
  const std::vector<float> values = {1, -inf, 2, std::nanf(""), inf, -3};
  Histogram h;
  h.Add(values);
  EXPECT_EQ(h.not_finite(), 3);
  EXPECT_EQ(h.count(), 3);
  EXPECT_EQ(h.min(), -3.0F);
  EXPECT_EQ(h.max(), 2.0F);
}

TEST(Histogram, SurvivesWritingAndRefusesDamage) {
  Histogram h;
  h.Add(Values(4, 300));
  ByteWriter out;
  h.Write(&out);
  Histogram().Write(&out);
  ByteReader in(out.bytes());
  const auto first = Histogram::Read(&in);
  const auto second = Histogram::Read(&in);
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_EQ(*first, h);
  EXPECT_EQ(*second, Histogram());
  EXPECT_TRUE(in.AtEnd());
  for (const size_t size : {size_t{0}, size_t{3}, size_t{40}, out.bytes().size() / 2}) {
    ByteReader cut(std::string_view(out.bytes()).substr(0, size));
    EXPECT_FALSE(Histogram::Read(&cut).ok()) << size;
  }
}

}  // namespace
}  // namespace phidias
