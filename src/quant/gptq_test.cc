// GPTQ against the paper's own form in float64 (inverse Hessian, its Cholesky factor, every column's error spread over
// all that come after it), over ragged sizes; Hessians against plain sums; and Hessians that can't be used are named.
#include "quant/gptq.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "backend/int4_rows.h"
#include "quant/int4_quantizer.h"
#include "tests/support/checkpoint_builder.h"

namespace phidias {
namespace {

using testing_support::EncodeValues;
using testing_support::RandomValues;

using Matrix = std::vector<std::vector<double>>;

// Inputs whose columns hang together, as a model's do.
std::vector<float> Inputs(int64_t tokens, int64_t cols) {
  const std::vector<float> hidden = RandomValues(11, "hidden", tokens * 12);
  const std::vector<float> mix = RandomValues(12, "mix", 12 * cols);
  std::vector<float> x = RandomValues(13, "x", tokens * cols);
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t c = 0; c < cols; ++c) {
      float sum = 0.3F * x[static_cast<size_t>(t * cols + c)];
      for (int64_t i = 0; i < 12; ++i) {
        sum += hidden[static_cast<size_t>(t * 12 + i)] * mix[static_cast<size_t>(i * cols + c)];
      }
      x[static_cast<size_t>(t * cols + c)] = sum;
    }
  }
  return x;
}

Matrix Gram(const std::vector<float>& x, int64_t cols) {
  Matrix h(static_cast<size_t>(cols), std::vector<double>(static_cast<size_t>(cols)));
  for (size_t t = 0; t < x.size(); t += static_cast<size_t>(cols)) {
    for (size_t i = 0; i < h.size(); ++i) {
      for (size_t j = 0; j < h.size(); ++j) {
        h[i][j] += static_cast<double>(x[t + i]) * static_cast<double>(x[t + j]);
      }
    }
  }
  return h;
}

Matrix Damped(Matrix h, double share) {
  double mean = 0;
  for (size_t i = 0; i < h.size(); ++i) {
    mean += h[i][i] / static_cast<double>(h.size());
  }
  for (size_t i = 0; i < h.size(); ++i) {
    h[i][i] += share * mean;
  }
  return h;
}

// Gauss-Jordan; `a` is positive definite.
Matrix Inverse(Matrix a) {
  const size_t n = a.size();
  Matrix inverse(n, std::vector<double>(n));
  for (size_t i = 0; i < n; ++i) {
    inverse[i][i] = 1;
  }
  for (size_t i = 0; i < n; ++i) {
    const double pivot = a[i][i];
    for (size_t j = 0; j < n; ++j) {
      a[i][j] /= pivot;
      inverse[i][j] /= pivot;
    }
    for (size_t r = 0; r < n; ++r) {
      const double factor = r == i ? 0 : a[r][i];
      for (size_t j = 0; j < n; ++j) {
        a[r][j] -= factor * a[i][j];
        inverse[r][j] -= factor * inverse[i][j];
      }
    }
  }
  return inverse;
}

// The upper triangular T with T^T T = a.
Matrix UpperCholesky(const Matrix& a) {
  const size_t n = a.size();
  Matrix t(n, std::vector<double>(n));
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = i; j < n; ++j) {
      double sum = a[i][j];
      for (size_t k = 0; k < i; ++k) {
        sum -= t[k][i] * t[k][j];
      }
      t[i][j] = i == j ? std::sqrt(sum) : sum / t[i][i];
    }
  }
  return t;
}

// One row by the paper.
struct Row {
  std::vector<int8_t> codes;
  std::vector<uint8_t> multipliers;
  std::vector<double> values;  // in steps, before rounding
};
Row ReferenceRow(std::vector<double> w, const Matrix& factor, float scale, int64_t group) {
  Row out;
  float step = 1;
  for (size_t c = 0; c < w.size(); ++c) {
    if (c % static_cast<size_t>(group) == 0) {
      const size_t end = std::min(w.size(), c + static_cast<size_t>(group));
      const std::vector<float> values(w.begin() + static_cast<ptrdiff_t>(c), w.begin() + static_cast<ptrdiff_t>(end));
      std::vector<float> importance;
      for (size_t k = c; k < end; ++k) {
        importance.push_back(static_cast<float>(1 / (factor[k][k] * factor[k][k])));
      }
      out.multipliers.push_back(BestInt4Multiplier(values, scale, importance));
      step = scale * static_cast<float>(out.multipliers.back());
    }
    out.values.push_back(w[c] / static_cast<double>(step));
    const double q = std::clamp(std::nearbyint(w[c] / static_cast<double>(step)), -8.0, 7.0);
    out.codes.push_back(static_cast<int8_t>(q));
    const double error = (w[c] - q * static_cast<double>(step)) / factor[c][c];
    for (size_t later = c + 1; later < w.size(); ++later) {
      w[later] -= error * factor[c][later];
    }
  }
  return out;
}

// sum over tokens of (W x - W' x)^2, from the Gram matrix.
double OutputError(const std::vector<float>& w, const std::vector<float>& back, const Matrix& h) {
  const size_t cols = h.size();
  double total = 0;
  for (size_t n = 0; n < w.size(); n += cols) {
    for (size_t i = 0; i < cols; ++i) {
      for (size_t j = 0; j < cols; ++j) {
        total += static_cast<double>(w[n + i] - back[n + i]) * h[i][j] * static_cast<double>(w[n + j] - back[n + j]);
      }
    }
  }
  return total;
}

Hessian HessianOf(const std::vector<float>& x, int64_t cols, ThreadPool* pool) {
  Hessian hessian(cols);
  hessian.Add(static_cast<int64_t>(x.size()) / cols, x.data(), pool);
  return hessian;
}

TEST(Hessian, IsTheSumOfProductsForAnyThreads) {
  for (const int64_t cols : {1, 17, 130}) {
    const std::vector<float> x = Inputs(300, cols);
    const Matrix want = Gram(x, cols);
    ThreadPool one(1);
    ThreadPool three(3);
    const Hessian got = HessianOf(x, cols, &three);
    EXPECT_EQ(got.tokens, 300);
    EXPECT_EQ(got.values, HessianOf(x, cols, &one).values);
    for (size_t i = 0; i < want.size(); ++i) {
      for (size_t j = i; j < want.size(); ++j) {
        EXPECT_NEAR(got.values[i * want.size() + j], want[i][j], 1e-4 * std::sqrt(want[i][i] * want[j][j]));
      }
    }
  }
}

// U D U^T is H with its damping, for sizes around the panel's.
TEST(FactorHessian, IsTheFactor) {
  for (const int64_t cols : {1, 40, 128, 129, 300}) {
    ThreadPool pool(2);
    const std::vector<float> x = Inputs(400, cols);
    const Matrix want = Damped(Gram(x, cols), 0.01);
    const auto factor = FactorHessian(HessianOf(x, cols, &pool), &pool);
    ASSERT_TRUE(factor.ok()) << factor.status().message();
    EXPECT_EQ(factor->damping, 0.01);
    const auto n = static_cast<size_t>(cols);
    const auto u = [&](size_t r, size_t c) { return static_cast<double>(factor->unit[r * n + c]); };
    std::vector<double> d(n);  // from the last column backwards
    for (size_t c = n; c-- > 0;) {
      d[c] = want[c][c];
      for (size_t t = c + 1; t < n; ++t) {
        d[c] -= u(c, t) * u(c, t) * d[t];
      }
    }
    for (size_t r = 0; r < n; ++r) {
      EXPECT_FLOAT_EQ(factor->unit[r * n + r], 1.0F);
      for (size_t c = r; c < n; ++c) {
        double sum = 0;
        for (size_t t = c; t < n; ++t) {
          sum += u(r, t) * d[t] * u(c, t);
        }
        EXPECT_NEAR(sum, want[r][c], 2e-4 * std::sqrt(want[r][r] * want[c][c])) << r << " " << c;
      }
    }
  }
}

TEST(FactorHessian, DeadColumnsAndDependentOnesAreDampedAndWhatIsBrokenIsNamed) {
  ThreadPool pool(2);
  constexpr int64_t kCols = 20;
  std::vector<float> x = Inputs(60, kCols);
  for (size_t t = 0; t < x.size(); t += kCols) {
    x[t + 3] = 0;         // dead
    x[t + 5] = x[t + 6];  // the same twice
  }
  EXPECT_TRUE(FactorHessian(HessianOf(x, kCols, &pool), &pool).ok());
  const auto message = [&](const Hessian& hessian) { return FactorHessian(hessian, &pool).status().message(); };
  EXPECT_EQ(message(Hessian(4)), "its inputs were all zero in calibration; use other rows, or --skip this layer");
  Hessian broken = HessianOf(x, kCols, &pool);
  broken.values[7 * kCols + 9] = 1e9F;  // no X has such a product
  EXPECT_NE(message(broken).find("isn't positive definite, whatever is added to the diagonal (column 7)"),
            std::string::npos)
      << message(broken);
  broken.values[2 * kCols + 2] = std::numeric_limits<float>::infinity();
  EXPECT_EQ(message(broken), "column 2 of its Hessian is inf; the inputs overflow float32");
}

TEST(QuantizeGptq, IsThePapersInFloat64) {
  for (const auto& [cols, group] : {std::pair<int64_t, int64_t>{64, 32}, {136, 64}, {200, 32}, {300, 128}}) {
    constexpr int64_t kRows = 24;
    ThreadPool pool(3);
    const std::vector<float> x = Inputs(500, cols);
    const std::vector<float> w = RandomValues(21, "w", kRows * cols);
    const std::vector<std::byte> bytes = EncodeValues(w, DType::kF32);
    const WeightSource source = {"w", {DType::kF32, bytes.data(), kRows, cols}, {}, {}};
    const auto factor = FactorHessian(HessianOf(x, cols, &pool), &pool);
    ASSERT_TRUE(factor.ok());
    WeightQuant quant = *FindInt4Quant(source, RangeKind::kMse, group, &pool);
    const WeightQuant mse = quant;
    const std::vector<std::byte> packed = QuantizeGptq(source, *factor, &quant, &pool);
    const Matrix h = Gram(x, cols);
    const Matrix reference = UpperCholesky(Inverse(Damped(h, 0.01)));

    const WeightMatrix matrix = {DType::kI4, packed.data(), kRows, cols};
    int64_t same = 0;
    std::vector<float> back(w.size());
    std::vector<int8_t> q(static_cast<size_t>(cols));
    for (int64_t n = 0; n < kRows; ++n) {
      const Row want = ReferenceRow({w.begin() + n * cols, w.begin() + (n + 1) * cols}, reference,
                                    quant.scale[static_cast<size_t>(n)], group);
      UnpackInt4Row(matrix.Row(n), cols, q.data());
      DecodeInt4Row(matrix, quant, n, back.data() + n * cols);
      // A value half way between two codes may fall to either side, and everything after it follows; so may a
      // multiplier that is as good as another.
      const auto differ = std::mismatch(q.begin(), q.end(), want.codes.begin());
      const auto at = static_cast<size_t>(differ.first - q.begin());
      const size_t g = std::min(at, q.size() - 1) / static_cast<size_t>(group);
      const bool same_step = quant.multiplier[static_cast<size_t>(n * quant.Groups(cols)) + g] == want.multipliers[g];
      same += differ.first - q.begin();
      if (differ.first != q.end() && same_step) {
        EXPECT_NEAR(std::fabs(want.values[at] - std::floor(want.values[at])), 0.5, 2e-3) << cols << " row " << n;
      }
    }
    EXPECT_GE(same, kRows * cols / 4) << cols;  // codes before the first of those
    const double got_error = OutputError(w, back, h);

    std::vector<std::byte> rounded(packed.size());
    QuantizeInt4Rows(source, mse, 0, kRows, rounded.data(), &pool);
    for (int64_t n = 0; n < kRows; ++n) {
      DecodeInt4Row({DType::kI4, rounded.data(), kRows, cols}, mse, n, back.data() + n * cols);
    }
    EXPECT_LT(got_error, 0.6 * OutputError(w, back, h)) << cols;  // what it is for
  }
}

TEST(QuantizeGptq, ThreadsChangeNothing) {
  constexpr int64_t kCols = 160;
  const std::vector<float> x = Inputs(300, kCols);
  const std::vector<std::byte> bytes = EncodeValues(RandomValues(21, "w", 70 * kCols), DType::kF32);
  const WeightSource source = {"w", {DType::kF32, bytes.data(), 70, kCols}, {}, {}};
  std::vector<std::vector<std::byte>> packed;
  for (const int threads : {1, 4}) {
    ThreadPool pool(threads);
    WeightQuant quant = *FindInt4Quant(source, RangeKind::kMse, 32, &pool);
    packed.push_back(QuantizeGptq(source, *FactorHessian(HessianOf(x, kCols, &pool), &pool), &quant, &pool));
  }
  EXPECT_EQ(packed[0], packed[1]);
}

}  // namespace
}  // namespace phidias
