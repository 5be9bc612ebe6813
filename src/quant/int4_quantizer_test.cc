// Scales, multipliers and packed rows of 4-bit weights against the rules written out, over ragged groups and every
// stored type.
#include "quant/int4_quantizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "backend/int4_rows.h"
#include "tests/support/checkpoint_builder.h"

namespace phidias {
namespace {

using testing_support::EncodeValues;
using testing_support::RandomValues;

struct Stored {
  std::vector<std::byte> bytes;
  WeightSource source;

  Stored(int64_t rows, int64_t cols, const std::vector<float>& values, DType dtype = DType::kF32)
      : bytes(EncodeValues(values, dtype)), source{"w", {dtype, bytes.data(), rows, cols}, {}, {}} {}
};

struct Quantized {
  WeightQuant quant;
  std::vector<std::byte> rows;
  std::vector<float> back;  // dequantised
};

Quantized Quantize(const WeightSource& source, RangeKind kind, int64_t group, int threads = 2) {
  ThreadPool pool(threads);
  Quantized out;
  const auto quant = FindInt4Quant(source, kind, group, &pool);
  EXPECT_TRUE(quant.ok()) << quant.status().message();
  out.quant = *quant;
  const WeightMatrix& matrix = source.matrix;
  out.rows.resize(static_cast<size_t>(matrix.rows * DTypeBytes(DType::kI4, matrix.cols)));
  QuantizeInt4Rows(source, out.quant, 0, matrix.rows, out.rows.data(), &pool);
  out.back.resize(static_cast<size_t>(matrix.rows * matrix.cols));
  for (int64_t n = 0; n < matrix.rows; ++n) {
    DecodeInt4Row({DType::kI4, out.rows.data(), matrix.rows, matrix.cols}, out.quant, n,
                  out.back.data() + n * matrix.cols);
  }
  return out;
}

double Error(const WeightSource& source, const Quantized& quantized) {
  std::vector<float> row(static_cast<size_t>(source.matrix.cols));
  double error = 0;
  for (int64_t n = 0; n < source.matrix.rows; ++n) {
    source.Row(n, row.data());
    for (size_t k = 0; k < row.size(); ++k) {
      error += std::pow(row[k] - quantized.back[static_cast<size_t>(n) * row.size() + k], 2);
    }
  }
  return error;
}

TEST(Int4Rows, PackAndUnpackEveryLength) {
  for (int64_t k = 1; k < 40; ++k) {
    std::vector<int8_t> q;
    for (int64_t i = 0; i < k; ++i) {
      q.push_back(static_cast<int8_t>((i * 7 + k) % 16 - 8));
    }
    std::vector<std::byte> row(static_cast<size_t>(DTypeBytes(DType::kI4, k)), std::byte{0xff});
    PackInt4Row(q.data(), k, row.data());
    std::vector<int8_t> back(q.size());
    UnpackInt4Row(row.data(), k, back.data());
    EXPECT_EQ(back, q);
    // compressed-tensors: the first in the lowest bits of a little-endian word, q + 8; the rest of it is 0.
    uint32_t word = 0;
    std::memcpy(&word, row.data(), sizeof word);
    EXPECT_EQ(static_cast<int32_t>(word & 15), q[0] + 8);
    const std::byte last = row.back();
    EXPECT_TRUE(k % 8 == 0 || (last & std::byte{0xf0}) == std::byte{0});
  }
}

TEST(FindInt4Quant, SymmetricIsTheRule) {
  for (const int64_t group : {32, 64, 128}) {
    const Stored w(5, 200, RandomValues(5, "w", 5 * 200));
    const Quantized got = Quantize(w.source, RangeKind::kSymmetric, group);
    const int64_t groups = (200 + group - 1) / group;
    ASSERT_EQ(got.quant.multiplier.size(), static_cast<size_t>(5 * groups));
    std::vector<float> row(200);
    for (int64_t n = 0; n < 5; ++n) {
      w.source.Row(n, row.data());
      float largest = 0;
      for (const float value : row) {
        largest = std::max(largest, std::fabs(value));
      }
      EXPECT_FLOAT_EQ(got.quant.scale[static_cast<size_t>(n)], largest / 7.5F / 63);
      for (int64_t g = 0; g < groups; ++g) {
        float absmax = 0;
        for (int64_t k = g * group; k < std::min<int64_t>((g + 1) * group, 200); ++k) {
          absmax = std::max(absmax, std::fabs(row[static_cast<size_t>(k)]));
        }
        const double wanted = absmax / 7.5 / got.quant.scale[static_cast<size_t>(n)];
        EXPECT_NEAR(got.quant.multiplier[static_cast<size_t>(n * groups + g)], wanted, 0.501);
        const float step = Int4Step(got.quant, groups, n, g);
        for (int64_t k = g * group; k < std::min<int64_t>((g + 1) * group, 200); ++k) {
          const double q =
              std::clamp(std::nearbyint(static_cast<double>(row[static_cast<size_t>(k)] / step)), -8.0, 7.0);
          EXPECT_FLOAT_EQ(got.back[static_cast<size_t>(n * 200 + k)], static_cast<float>(q) * step);
        }
      }
    }
  }
}

TEST(FindInt4Quant, MseLosesLessAndIsTheBestMultiplier) {
  const Stored w(16, 160, RandomValues(9, "w", 16 * 160));
  const Quantized plain = Quantize(w.source, RangeKind::kSymmetric, 32);
  const Quantized mse = Quantize(w.source, RangeKind::kMse, 32);
  EXPECT_LT(Error(w.source, mse), 0.95 * Error(w.source, plain));
  // No other multiplier of a group does better.
  std::vector<float> row(160);
  for (int64_t n = 0; n < 16; ++n) {
    w.source.Row(n, row.data());
    for (int64_t g = 0; g < 5; ++g) {
      const auto error = [&](int32_t m) {
        const float step = mse.quant.scale[static_cast<size_t>(n)] * static_cast<float>(m);
        double sum = 0;
        for (int64_t k = g * 32; k < g * 32 + 32; ++k) {
          const float value = row[static_cast<size_t>(k)];
          sum += std::pow(static_cast<double>(value - step * static_cast<float>(RoundInt4(value, step))), 2);
        }
        return sum;
      };
      const double found = error(mse.quant.multiplier[static_cast<size_t>(n * 5 + g)]);
      for (int32_t m = 1; m <= 63; ++m) {
        EXPECT_GE(error(m), found * (1 - 1e-5)) << "row " << n << " group " << g << " multiplier " << m;
      }
    }
  }
}

TEST(FindInt4Quant, ThreadsAndStoredTypesChangeNothing) {
  const std::vector<float> values = RandomValues(3, "w", 50 * 72);
  for (const RangeKind kind : {RangeKind::kSymmetric, RangeKind::kMse}) {
    const Stored half(50, 72, values, DType::kBF16);
    const Quantized one = Quantize(half.source, kind, 64, 1);
    const Quantized three = Quantize(half.source, kind, 64, 3);
    EXPECT_EQ(one.quant.scale, three.quant.scale);
    EXPECT_EQ(one.quant.multiplier, three.quant.multiplier);
    EXPECT_EQ(one.rows, three.rows);
  }
}

TEST(FindInt4Quant, WhatFourBitsHoldNearlyComesBack) {
  std::vector<float> values;
  for (int n = 0; n < 4; ++n) {
    for (int k = 0; k < 96; ++k) {
      const int q = k % 32 == 0 ? -8 : (k * 5 + n) % 15 - 7;
      values.push_back(static_cast<float>(q) * static_cast<float>(k / 32 == 1 ? 63 : 21) * 0.001F);
    }
  }
  const Stored w(4, 96, values);
  // But for the row scale's search, which starts from the extreme: 0.1 % of the weights' size.
  EXPECT_LT(Error(w.source, Quantize(w.source, RangeKind::kMse, 32)), 1e-6 * 4 * 96);
}

TEST(FindInt4Quant, RowsOfZerosAndOutliers) {
  std::vector<float> values(2 * 64, 0.0F);
  values[64] = 1000.0F;  // the second row: one huge value, and a tiny one in another group
  values[64 + 40] = 1e-6F;
  const Stored w(2, 64, values);
  for (const RangeKind kind : {RangeKind::kSymmetric, RangeKind::kMse}) {
    const Quantized got = Quantize(w.source, kind, 32);
    EXPECT_EQ(got.quant.scale[0], 1.1920928955078125e-07F);
    EXPECT_EQ(got.back[0], 0.0F);
    EXPECT_NEAR(got.back[64], 1000.0F, 70);
    EXPECT_EQ(got.quant.multiplier[3], 1);
    EXPECT_EQ(got.back[64 + 40], 0.0F);
  }
}

TEST(FindInt4Quant, NamesWhatIsNotFinite) {
  std::vector<float> values = RandomValues(3, "w", 64 * 40);
  values[50 * 40 + 7] = std::numeric_limits<float>::infinity();
  const Stored w(64, 40, values);
  ThreadPool pool(2);
  const auto quant = FindInt4Quant(w.source, RangeKind::kMse, 32, &pool);
  EXPECT_NE(quant.status().message().find("tensor \"w\": element [50, 7] is inf"), std::string::npos)
      << quant.status().message();
}

}  // namespace
}  // namespace phidias
