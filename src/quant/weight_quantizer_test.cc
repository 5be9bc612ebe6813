// Scales and int8 rows against the rules written out with the standard library in float64 and float32, over odd shapes
// and every stored type.
#include "quant/weight_quantizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "tests/support/checkpoint_builder.h"

namespace phidias {
namespace {

using testing_support::EncodeValues;
using testing_support::RandomValues;

constexpr float kEpsilon = 1.1920928955078125e-07F;

// A matrix of random values and the bytes behind it.
struct Stored {
  std::vector<std::byte> bytes;
  WeightSource source;

  Stored(int64_t rows, int64_t cols, DType dtype, std::vector<float> values)
      : bytes(EncodeValues(values, dtype)), source{"w", {dtype, bytes.data(), rows, cols}, {}, {}} {}
  std::vector<float> Row(int64_t n) const {
    std::vector<float> row(static_cast<size_t>(source.matrix.cols));
    source.Row(n, row.data());
    return row;
  }
};

Stored Random(int64_t rows, int64_t cols, DType dtype = DType::kF32) {
  return {rows, cols, dtype, RandomValues(5, "w", rows * cols)};
}

float AbsMax(const std::vector<float>& row) {
  float largest = 0;
  for (const float value : row) {
    largest = std::max(largest, std::fabs(value));
  }
  return largest;
}

WeightQuant Find(const Stored& w, RangeKind kind, Granularity granularity, int threads = 2) {
  ThreadPool pool(threads);
  const auto quant = FindWeightQuant(w.source, kind, granularity, 99.0, &pool);
  EXPECT_TRUE(quant.ok()) << quant.status().message();
  return quant.ok() ? *quant : WeightQuant{};
}

std::vector<int8_t> Quantize(const Stored& w, const WeightQuant& quant, int threads = 2) {
  ThreadPool pool(threads);
  std::vector<int8_t> q(static_cast<size_t>(w.source.matrix.rows * w.source.matrix.cols));
  QuantizeWeightRows(w.source, quant, 0, w.source.matrix.rows, q.data(), &pool);
  return q;
}

double Error(const Stored& w, const WeightQuant& quant) {
  const std::vector<int8_t> q = Quantize(w, quant);
  double error = 0;
  for (int64_t n = 0; n < w.source.matrix.rows; ++n) {
    const std::vector<float> row = w.Row(n);
    for (size_t k = 0; k < row.size(); ++k) {
      const int32_t zero = quant.zero_point.empty() ? 0 : quant.zero_point[static_cast<size_t>(n)];
      const float back =
          quant.scale[static_cast<size_t>(n)] * static_cast<float>(q[static_cast<size_t>(n) * row.size() + k] - zero);
      error += std::pow(row[k] - back, 2);
    }
  }
  return error;
}

struct Shape {
  int64_t rows;
  int64_t cols;
  DType dtype;
};

class WeightQuantizer : public testing::TestWithParam<Shape> {};

TEST_P(WeightQuantizer, SymmetricIsAbsMaxOver127AndAHalf) {
  const auto [rows, cols, dtype] = GetParam();
  const Stored w = Random(rows, cols, dtype);
  const WeightQuant quant = Find(w, RangeKind::kSymmetric, Granularity::kChannel);
  const std::vector<int8_t> q = Quantize(w, quant);
  ASSERT_EQ(quant.scale.size(), static_cast<size_t>(rows));
  EXPECT_TRUE(quant.zero_point.empty());
  for (int64_t n = 0; n < rows; ++n) {
    const std::vector<float> row = w.Row(n);
    const float scale = std::max(AbsMax(row) / 127.5F, kEpsilon);
    ASSERT_EQ(quant.scale[static_cast<size_t>(n)], scale);
    for (size_t k = 0; k < row.size(); ++k) {
      const float want = std::clamp(std::nearbyint(row[k] / scale), -128.0F, 127.0F);
      ASSERT_EQ(q[static_cast<size_t>(n * cols) + k], static_cast<int>(want)) << n << " " << k;
    }
  }
}

TEST_P(WeightQuantizer, AsymmetricCoversTheRangeWithZeroExact) {
  const auto [rows, cols, dtype] = GetParam();
  const Stored w = Random(rows, cols, dtype);
  const WeightQuant quant = Find(w, RangeKind::kAsymmetric, Granularity::kChannel);
  const std::vector<int8_t> q = Quantize(w, quant);
  for (int64_t n = 0; n < rows; ++n) {
    const std::vector<float> row = w.Row(n);
    const auto [low, high] = std::minmax_element(row.begin(), row.end());
    const float scale = (std::max(*high, 0.0F) - std::min(*low, 0.0F)) / 255.0F;
    ASSERT_EQ(quant.scale[static_cast<size_t>(n)], std::max(scale, kEpsilon));
    for (size_t k = 0; k < row.size(); ++k) {
      const float back =
          quant.scale[static_cast<size_t>(n)] *
          static_cast<float>(q[static_cast<size_t>(n * cols) + k] - quant.zero_point[static_cast<size_t>(n)]);
      ASSERT_NEAR(back, row[k], 1.01 * quant.scale[static_cast<size_t>(n)]) << n << " " << k;
    }
  }
}

TEST_P(WeightQuantizer, OneScalePerTensorIsTheLargestRows) {
  const auto [rows, cols, dtype] = GetParam();
  const Stored w = Random(rows, cols, dtype);
  for (const RangeKind kind :
       {RangeKind::kSymmetric, RangeKind::kAsymmetric, RangeKind::kPercentile, RangeKind::kMse}) {
    const WeightQuant quant = Find(w, kind, Granularity::kTensor);
    ASSERT_EQ(quant.scale.size(), static_cast<size_t>(rows));
    EXPECT_EQ(std::count(quant.scale.begin(), quant.scale.end(), quant.scale[0]), rows);
  }
  const WeightQuant per_row = Find(w, RangeKind::kSymmetric, Granularity::kChannel);
  const WeightQuant per_tensor = Find(w, RangeKind::kSymmetric, Granularity::kTensor);
  EXPECT_EQ(per_tensor.scale[0], *std::max_element(per_row.scale.begin(), per_row.scale.end()));
}

TEST_P(WeightQuantizer, NoThreadCountChangesAnything) {
  const auto [rows, cols, dtype] = GetParam();
  const Stored w = Random(rows, cols, dtype);
  for (const RangeKind kind :
       {RangeKind::kSymmetric, RangeKind::kAsymmetric, RangeKind::kPercentile, RangeKind::kMse}) {
    for (const Granularity granularity : {Granularity::kTensor, Granularity::kChannel}) {
      const WeightQuant one = Find(w, kind, granularity, 1);
      const WeightQuant three = Find(w, kind, granularity, 3);
      EXPECT_EQ(one.scale, three.scale);
      EXPECT_EQ(one.zero_point, three.zero_point);
      EXPECT_EQ(Quantize(w, one, 1), Quantize(w, one, 3));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, WeightQuantizer,
                         testing::Values(Shape{1, 1, DType::kF32}, Shape{37, 19, DType::kF32},
                                         Shape{50, 33, DType::kBF16}, Shape{33, 50, DType::kF16},
                                         Shape{17, 64, DType::kQ8_0}));

TEST(WeightQuantizer, PercentileIsTheSortedRows) {
  const Stored w = Random(9, 101);
  const WeightQuant quant = Find(w, RangeKind::kPercentile, Granularity::kChannel);
  std::vector<float> all;
  for (int64_t n = 0; n < 9; ++n) {
    std::vector<float> row = w.Row(n);
    std::transform(row.begin(), row.end(), row.begin(), [](float value) { return std::fabs(value); });
    all.insert(all.end(), row.begin(), row.end());
    std::sort(row.begin(), row.end());
    EXPECT_FLOAT_EQ(quant.scale[static_cast<size_t>(n)], row[99] / 127.5F);  // 99 % of 100 gaps
  }
  std::sort(all.begin(), all.end());
  const double place = 0.99 * 908;
  const float want = static_cast<float>(all[898] + (place - 898) * (all[899] - all[898]));
  EXPECT_FLOAT_EQ(Find(w, RangeKind::kPercentile, Granularity::kTensor).scale[0], want / 127.5F);
}

TEST(WeightQuantizer, MseIsNeverWorseThanTheWholeRangeAndBetterWithAnOutlier) {
  std::vector<float> values = RandomValues(5, "w", 4 * 4096);
  values[77] = 1.5F;  // the others lie within 1
  const Stored w(4, 4096, DType::kF32, values);
  for (const Granularity granularity : {Granularity::kTensor, Granularity::kChannel}) {
    const double whole = Error(w, Find(w, RangeKind::kSymmetric, granularity));
    const double clipped = Error(w, Find(w, RangeKind::kMse, granularity));
    EXPECT_LT(clipped, whole);
  }
}

TEST(WeightQuantizer, ADeadRowHasTheLeastScaleAndZeros) {
  std::vector<float> values = RandomValues(5, "w", 3 * 20);
  std::fill(values.begin() + 20, values.begin() + 40, 0.0F);
  const Stored w(3, 20, DType::kF32, values);
  for (const RangeKind kind :
       {RangeKind::kSymmetric, RangeKind::kAsymmetric, RangeKind::kPercentile, RangeKind::kMse}) {
    const WeightQuant quant = Find(w, kind, Granularity::kChannel);
    EXPECT_EQ(quant.scale[1], kEpsilon);
    const std::vector<int8_t> q = Quantize(w, quant);
    const int zero = quant.zero_point.empty() ? 0 : quant.zero_point[1];
    EXPECT_EQ(std::count(q.begin() + 20, q.begin() + 40, zero), 20);
  }
}

TEST(WeightQuantizer, FactorsScaleRowsAndColumns) {
  Stored w = Random(3, 4);
  const std::vector<float> before = w.Row(1);
  w.source.column_factor = {1, 2, 4, 8};
  w.source.row_factor = {1, 0.5F, 1};
  const std::vector<float> after = w.Row(1);
  for (size_t k = 0; k < 4; ++k) {
    EXPECT_EQ(after[k], before[k] * w.source.column_factor[k] * 0.5F);
  }
  EXPECT_EQ(ColumnAbsMax(w.source)[3],
            std::max({std::fabs(w.Row(0)[3]), std::fabs(w.Row(1)[3]), std::fabs(w.Row(2)[3])}));
}

TEST(WeightQuantizer, NamesTensorAndPlaceOfWhatIsNotFinite) {
  for (const float bad :
       {std::nanf(""), std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()}) {
    std::vector<float> values = RandomValues(5, "w", 90 * 20);
    values[50 * 20 + 7] = bad;
    values[80 * 20 + 1] = bad;
    const Stored w(90, 20, DType::kF32, values);
    ThreadPool pool(3);
    for (const Granularity granularity : {Granularity::kTensor, Granularity::kChannel}) {
      const auto quant = FindWeightQuant(w.source, RangeKind::kSymmetric, granularity, 99, &pool);
      ASSERT_FALSE(quant.ok());
      EXPECT_EQ(quant.status().code(), StatusCode::kDataError);
      EXPECT_NE(quant.status().message().find("tensor \"w\": element [50, 7] is"), std::string::npos)
          << quant.status().message();
    }
  }
}

}  // namespace
}  // namespace phidias
