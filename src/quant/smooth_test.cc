// SmoothQuant's factors against the formula, and the search against trying every choice on the whole layer.
#include "quant/smooth.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "quant/input_range.h"
#include "tests/support/checkpoint_builder.h"

namespace phidias {
namespace {

using testing_support::RandomValues;

TEST(SmoothFactors, AreTheFormula) {
  const std::vector<float> x = {8, 0.5F, 1, 100};
  const std::vector<float> w = {0.25F, 2, 1, 1e-3F};
  for (const double alpha : {0.0, 0.3, 0.5, 1.0}) {
    const std::vector<float> factors = SmoothFactors(x, w, alpha);
    for (size_t i = 0; i < x.size(); ++i) {
      EXPECT_NEAR(factors[i], std::pow(x[i], alpha) / std::pow(w[i], 1 - alpha), 1e-6 * factors[i]);
    }
  }
}

TEST(SmoothFactors, DeadChannelsAndColumnsStayWithinReason) {
  const std::vector<float> factors = SmoothFactors({0, 1e-30F, 2}, {1, 1, 0}, 0.5);
  EXPECT_EQ(factors[0], 1.0F);
  EXPECT_GE(factors[1], 1e-5F);
  EXPECT_NEAR(factors[2], std::sqrt(2 / 1e-5), 1);
  for (const float factor : factors) {
    EXPECT_TRUE(std::isfinite(1.0F / factor));
  }
}

// An input with two large channels, and two layers that read it.
struct Layer {
  static constexpr int64_t kCols = 37;
  static constexpr int64_t kTokens = 50;
  std::vector<float> x = RandomValues(1, "x", kTokens* kCols);
  std::vector<float> a = RandomValues(2, "a", 20 * kCols);
  std::vector<float> b = RandomValues(3, "b", 9 * kCols);
  ActivationStats stats{kCols};
  WeightSource source_a;
  WeightSource source_b;
  SmoothTarget target;

  explicit Layer(float outlier) {
    for (int64_t t = 0; t < kTokens; ++t) {
      x[static_cast<size_t>(t * kCols + 3)] *= outlier;
      x[static_cast<size_t>(t * kCols + 30)] *= outlier;
    }
    for (std::vector<float>* w : {&a, &b}) {
      for (size_t n = 0; n < w->size(); n += kCols) {
        (*w)[n + 3] /= outlier;
        (*w)[n + 30] /= outlier;
      }
    }
    stats.Add(kCols, x);
    source_a = {"a", {DType::kF32, reinterpret_cast<const std::byte*>(a.data()), 20, kCols}, {}, {}};
    source_b = {"b", {DType::kF32, reinterpret_cast<const std::byte*>(b.data()), 9, kCols}, {}, {}};
    target.input = &stats;
    target.samples = x;
    target.readers = {&source_a, &source_b};
  }

  // Relative squared errors of both outputs, in float64.
  double Error(const std::vector<float>& factor, const QuantScheme& scheme) const {
    ThreadPool pool(1);
    const Histogram range = factor.empty() ? stats.histogram : SmoothedHistogram(stats, x, factor);
    const InputQuant input = FindInputQuant(range, scheme.activations, scheme.percentile);
    double total = 0;
    for (WeightSource source : {source_a, source_b}) {
      const WeightSource plain = source;
      source.column_factor = factor;
      const auto quant = *FindWeightQuant(source, scheme.weights, scheme.granularity, 99.9, &pool);
      const int64_t rows = source.matrix.rows;
      std::vector<int8_t> q(static_cast<size_t>(rows * kCols));
      QuantizeWeightRows(source, quant, 0, rows, q.data(), &pool);
      double error = 0;
      double norm = 0;
      std::vector<float> w(kCols);
      for (int64_t n = 0; n < rows; ++n) {
        plain.Row(n, w.data());
        for (int64_t t = 0; t < kTokens; ++t) {
          double want = 0;
          double got = 0;
          for (int64_t k = 0; k < kCols; ++k) {
            const double value = x[static_cast<size_t>(t * kCols + k)];
            want += value * w[static_cast<size_t>(k)];
            const double scaled = factor.empty() ? value : value / factor[static_cast<size_t>(k)];
            const double rounded = std::clamp(std::nearbyint(scaled / input.scale + input.zero_point), -128.0, 127.0);
            got += (rounded - input.zero_point) * input.scale * q[static_cast<size_t>(n * kCols + k)] *
                   quant.scale[static_cast<size_t>(n)];
          }
          error += (got - want) * (got - want);
          norm += want * want;
        }
      }
      total += error / norm;
    }
    return total;
  }
};

TEST(SearchSmoothing, FindsWhatIsBestForTheOutputs) {
  const Layer layer(40);
  for (const Granularity granularity : {Granularity::kTensor, Granularity::kChannel}) {
    QuantScheme scheme;
    scheme.granularity = granularity;
    ThreadPool pool(2);
    const auto choice = SearchSmoothing(layer.target, scheme, &pool);
    ASSERT_TRUE(choice.ok()) << choice.status().message();
    ASSERT_TRUE(choice->smooth);
    const double found = layer.Error(choice->factor, scheme);
    EXPECT_LT(found, layer.Error({}, scheme) / 10);
    for (const double alpha : {0.3, 0.5, 0.7, 0.9, 1.0}) {
      EXPECT_LE(found, layer.Error(SmoothWith(layer.target, alpha).factor, scheme) * 1.02) << alpha;
    }
  }
}

TEST(SearchSmoothing, LeavesALayerAloneThatLosesNothing) {
  const Layer layer(40);
  QuantScheme scheme;
  scheme.weights = scheme.activations = RangeKind::kNone;
  ThreadPool pool(1);
  const auto choice = SearchSmoothing(layer.target, scheme, &pool);
  ASSERT_TRUE(choice.ok());
  EXPECT_FALSE(choice->smooth);
}

TEST(SmoothWith, SharesFactorsWithinGroups) {
  Layer layer(10);
  layer.target.channel_of.resize(37);
  for (size_t i = 0; i < 37; ++i) {
    layer.target.channel_of[i] = static_cast<int64_t>(i % 5);
  }
  const SmoothChoice choice = SmoothWith(layer.target, 0.5);
  for (size_t i = 5; i < 37; ++i) {
    EXPECT_EQ(choice.factor[i], choice.factor[i % 5]);
  }
  EXPECT_GT(choice.factor[3], 2 * choice.factor[1]);
}

// Sum of squared differences after quantising, in float64.
double RoundingError(const std::vector<float>& values, const InputQuant& input) {
  double error = 0;
  for (const float value : values) {
    const double q =
        std::clamp(std::nearbyint(static_cast<double>(value) / input.scale + input.zero_point), -128.0, 127.0);
    error += std::pow(value - (q - input.zero_point) * input.scale, 2);
  }
  return error;
}

TEST(InputRange, MseHasTheLeastErrorOfAllRanges) {
  std::vector<float> values = RandomValues(1, "x", 100000);
  for (const int power : {1, 3, 9}) {  // from no tails to heavy ones
    std::vector<float> x = values;
    for (float& value : x) {
      value = std::pow(value, static_cast<float>(power)) * (value > 0 ? 1.0F : 0.3F);
    }
    Histogram h;
    h.Add(x);
    const double found = RoundingError(x, FindInputQuant(h, RangeKind::kMse, 99.9));
    EXPECT_LE(found, 1.02 * RoundingError(x, FindInputQuant(h, RangeKind::kAsymmetric, 99.9)));
    for (const double percentile : {90.0, 95.0, 99.0, 99.9, 99.99}) {
      EXPECT_LE(found, 1.02 * RoundingError(x, FindInputQuant(h, RangeKind::kPercentile, percentile))) << percentile;
    }
  }
}

TEST(InputRange, PercentileCutsBothTails) {
  std::vector<float> values;
  for (int i = -100; i <= 900; ++i) {
    values.push_back(static_cast<float>(i));
  }
  Histogram h;
  h.Add(values);
  const InputQuant input = FindInputQuant(h, RangeKind::kPercentile, 99.0);
  EXPECT_NEAR(input.scale, (890.0 + 90) / 255, 0.01);
  EXPECT_EQ(input.zero_point, static_cast<int32_t>(std::nearbyint(-128 + 90 / input.scale)));
}

}  // namespace
}  // namespace phidias
