#include "quant/hessian.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "backend/cpu/kernels.h"
#include "numerics/fp_mode.h"

namespace phidias {
namespace {

constexpr int64_t kTokens = 256;      // rows of X that are added together
constexpr int64_t kProductRows = 64;  // rows of a product that a thread makes at a time
constexpr int64_t kPanel = 128;       // columns that are factored together

// y[i, j] = sum_t a[i, t] a[j, t] for j >= i, a [rows, k] contiguous: handed out in blocks of kProductRows rows to
// use(i, j_begin, j_end, y's row).
class SelfProduct {
 public:
  SelfProduct(int64_t rows, int64_t k, ThreadPool* pool) : rows_(rows), k_(k), pool_(*pool) {
    const auto threads = static_cast<size_t>(pool_.size());
    y_.resize(threads, std::vector<float>(static_cast<size_t>(kProductRows * rows)));
    scratch_.resize(threads, std::vector<float>(static_cast<size_t>(kernels_.linear_block * (k + 16))));
  }

  template <class Use>
  void Run(const float* a, int64_t rows, Use use) {
    pool_.ParallelFor((rows + kProductRows - 1) / kProductRows, 1, [&](int64_t first, int64_t last, int thread) {
      const numerics::ScopedFlushToZero mode;
      float* y = y_[static_cast<size_t>(thread)].data();
      for (int64_t begin = first * kProductRows; begin < std::min(last * kProductRows, rows); begin += kProductRows) {
        const int64_t end = std::min(begin + kProductRows, rows);
        const cpu::LinearArgs args = {.x = a + begin * k_,
                                      .m = end - begin,
                                      .k = k_,
                                      .weight_dtype = DType::kF32,
                                      .weight = reinterpret_cast<const std::byte*>(a),
                                      .weight_row_bytes = k_ * static_cast<int64_t>(sizeof(float)),
                                      .y = y,
                                      .y_stride = rows_};
        kernels_.linear(args, begin, rows, scratch_[static_cast<size_t>(thread)].data());
        for (int64_t i = begin; i < end; ++i) {
          use(i, y + (i - begin) * rows_);
        }
      }
    });
  }

 private:
  int64_t rows_;  // the most that Run is given
  int64_t k_;
  ThreadPool& pool_;
  const cpu::Kernels& kernels_ = cpu::BestKernels();
  std::vector<std::vector<float>> y_;
  std::vector<std::vector<float>> scratch_;
};

// H = V V^T with V upper triangular, in place, from the last columns to the first: panels of kPanel columns are solved
// in double, and what they make of the columns before them is one product.
class Factorization {
 public:
  Factorization(int64_t cols, float* values, ThreadPool* pool)
      : cols_(cols), v_(values), pool_(*pool), product_(cols, kPanel, pool) {}

  // The column whose pivot isn't positive, if there is one.
  std::optional<int64_t> Run() {
    for (int64_t end = cols_; end > 0;) {
      const int64_t begin = (end - 1) / kPanel * kPanel;
      for (int64_t c = end - 1; c >= begin; --c) {
        if (!SolveColumn(c, begin, end)) {
          return c;
        }
      }
      pool_.ParallelFor(begin, 8, [&](int64_t first, int64_t last, int /*thread*/) {
        for (int64_t r = first; r < last; ++r) {
          SolveRow(r, begin, end);
        }
      });
      UpdateBefore(begin, end);
      end = begin;
    }
    return std::nullopt;
  }

  // U = V / V's diagonal: every column by its own. Returns D, that diagonal's squares.
  std::vector<float> MakeUnit() {
    std::vector<float> inverse(static_cast<size_t>(cols_));
    std::vector<float> diagonal(static_cast<size_t>(cols_));
    for (int64_t c = 0; c < cols_; ++c) {
      inverse[static_cast<size_t>(c)] = 1.0F / *At(c, c);
      diagonal[static_cast<size_t>(c)] = *At(c, c) * *At(c, c);
    }
    pool_.ParallelFor(cols_, 8, [&](int64_t first, int64_t last, int /*thread*/) {
      for (int64_t r = first; r < last; ++r) {
        for (int64_t c = r; c < cols_; ++c) {
          *At(r, c) *= inverse[static_cast<size_t>(c)];
        }
      }
    });
    return diagonal;
  }

 private:
  float* At(int64_t r, int64_t c) { return v_ + r * cols_ + c; }

  // sum of V[r, t] V[c, t] for c < t < end.
  double Dot(int64_t r, int64_t c, int64_t end) {
    double sum = 0;
    for (int64_t t = c + 1; t < end; ++t) {
      sum += static_cast<double>(*At(r, t)) * static_cast<double>(*At(c, t));
    }
    return sum;
  }

  // Column c of the panel's own rows.
  bool SolveColumn(int64_t c, int64_t begin, int64_t end) {
    const double pivot = *At(c, c) - Dot(c, c, end);
    if (!(pivot > 0) || !std::isfinite(pivot)) {
      return false;
    }
    const double root = std::sqrt(pivot);
    *At(c, c) = static_cast<float>(root);
    for (int64_t r = begin; r < c; ++r) {
      *At(r, c) = static_cast<float>((*At(r, c) - Dot(r, c, end)) / root);
    }
    return *At(c, c) > 0;
  }

  // The panel's columns of a row before it.
  void SolveRow(int64_t r, int64_t begin, int64_t end) {
    for (int64_t c = end - 1; c >= begin; --c) {
      *At(r, c) = static_cast<float>((*At(r, c) - Dot(r, c, end)) / static_cast<double>(*At(c, c)));
    }
  }

  // H[r, s] -= sum over the panel of V[r, t] V[s, t], r <= s < begin.
  void UpdateBefore(int64_t begin, int64_t end) {
    std::vector<float> panel(static_cast<size_t>(begin * kPanel));  // columns that a short panel lacks are zero
    for (int64_t r = 0; r < begin; ++r) {
      std::copy_n(At(r, begin), end - begin, panel.data() + r * kPanel);
    }
    product_.Run(panel.data(), begin, [&](int64_t r, const float* y) {
      for (int64_t s = r; s < begin; ++s) {
        *At(r, s) -= y[s];
      }
    });
  }

  int64_t cols_;
  float* v_;
  ThreadPool& pool_;
  SelfProduct product_;
};

// The diagonal, checked.
Result<std::vector<float>> Diagonal(const Hessian& hessian, double* mean) {
  std::vector<float> diagonal;
  double sum = 0;
  for (int64_t c = 0; c < hessian.cols; ++c) {
    const float value = hessian.values[static_cast<size_t>(c * hessian.cols + c)];
    if (!std::isfinite(value)) {
      return DataError("column ", c, " of its Hessian is ", value, "; the inputs overflow float32");
    }
    sum += static_cast<double>(value);
    diagonal.push_back(value);
  }
  *mean = sum / static_cast<double>(hessian.cols);
  if (!(*mean > 0)) {
    return DataError("its inputs were all zero in calibration; use other rows, or --skip this layer");
  }
  return diagonal;
}

}  // namespace

void Hessian::Add(int64_t rows, const float* x, ThreadPool* pool) {
  SelfProduct product(cols, kTokens, pool);
  std::vector<float> transposed(static_cast<size_t>(cols * kTokens));
  for (int64_t begin = 0; begin < rows; begin += kTokens) {
    const int64_t count = std::min(kTokens, rows - begin);
    pool->ParallelFor(cols, 64, [&](int64_t first, int64_t last, int /*thread*/) {
      for (int64_t c = first; c < last; ++c) {
        float* to = transposed.data() + c * kTokens;
        for (int64_t t = 0; t < kTokens; ++t) {
          to[t] = t < count ? x[(begin + t) * cols + c] : 0.0F;
        }
      }
    });
    product.Run(transposed.data(), cols, [&](int64_t i, const float* y) {
      float* row = values.data() + i * cols;
      for (int64_t j = i; j < cols; ++j) {
        row[j] += y[j];
      }
    });
  }
  tokens += rows;
}

Result<HessianFactor> FactorHessian(Hessian hessian, ThreadPool* pool) {
  constexpr double kDampings[] = {0.01, 0.1, 1.0};
  double mean = 0;
  ASSIGN_OR_RETURN(const std::vector<float> diagonal, Diagonal(hessian, &mean));
  const auto cols = static_cast<size_t>(hessian.cols);
  // The lower half keeps H for another try: factoring works in the upper one.
  for (size_t r = 0; r < cols; ++r) {
    for (size_t c = r + 1; c < cols; ++c) {
      hessian.values[c * cols + r] = hessian.values[r * cols + c];
    }
  }
  std::optional<int64_t> bad;
  for (const double damping : kDampings) {
    for (size_t c = 0; c < cols; ++c) {
      hessian.values[c * cols + c] = static_cast<float>(diagonal[c] + damping * mean);
    }
    Factorization factorization(hessian.cols, hessian.values.data(), pool);
    bad = factorization.Run();
    if (!bad) {
      std::vector<float> costs = factorization.MakeUnit();
      return HessianFactor{
          .cols = hessian.cols, .unit = std::move(hessian.values), .diagonal = std::move(costs), .damping = damping};
    }
    for (size_t r = 0; r < cols; ++r) {
      for (size_t c = r + 1; c < cols; ++c) {
        hessian.values[r * cols + c] = hessian.values[c * cols + r];
      }
    }
  }
  return DataError("its Hessian isn't positive definite, whatever is added to the diagonal (column ", *bad,
                   "): its inputs aren't what a model makes; use --weights mse, or --skip this layer");
}

}  // namespace phidias
