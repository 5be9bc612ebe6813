#include "quant/weight_quantizer.h"

#include <algorithm>
#include <cmath>

#include "numerics/quantize.h"
#include "quant/weight_rows.h"
#include "ref/decode_row.h"

namespace phidias {
namespace {

// What the kinds need to know of a row (or of all of them).
struct RowRange {
  float min = 0;
  float max = 0;
  float clipped = 0;  // percentile: of |w|; mse: the best absmax

  float absmax() const { return std::max(-min, max); }
};

// The value that the share `p` of the values lies below, linear between neighbours. Reorders `values`.
float Quantile(std::span<float> values, double p) {
  if (values.empty()) {
    return 0;
  }
  const double place = p * static_cast<double>(values.size() - 1);
  const auto index = static_cast<size_t>(place);
  std::nth_element(values.begin(), values.begin() + static_cast<ptrdiff_t>(index), values.end());
  const float low = values[index];
  if (index + 1 == values.size()) {
    return low;
  }
  const float high = *std::min_element(values.begin() + static_cast<ptrdiff_t>(index) + 1, values.end());
  return static_cast<float>(low + (place - static_cast<double>(index)) * (static_cast<double>(high) - low));
}

// Candidate c of the mse search, c * absmax: from 1 downwards.
constexpr int kMseSteps = 26;
float MseFactor(int step) {
  return 1.0F - 0.02F * static_cast<float>(step);
}

// Sum of squared differences after rounding to steps of absmax / 127.5. Sixteen sums side by side: the compiler may not
// reorder one.
double SquaredError(std::span<const float> row, float absmax) {
  constexpr float kRound = 12582912.0F;  // 1.5 * 2^23: adding and subtracting it rounds half to even
  const float scale = numerics::SymmetricScale(absmax).scale;
  const float inverse = 1.0F / scale;
  float sums[16] = {};
  for (size_t k = 0; k < row.size(); ++k) {
    float t = row[k] * inverse;
    t = t > -128.0F ? t : -128.0F;
    t = t < 127.0F ? t : 127.0F;
    const float difference = row[k] - ((t + kRound) - kRound) * scale;
    sums[k % 16] += difference * difference;
  }
  double total = 0;
  for (const float sum : sums) {
    total += static_cast<double>(sum);
  }
  return total;
}

float BestAbsMax(std::span<const double> errors, float absmax) {
  const auto best = std::min_element(errors.begin(), errors.end());  // the first of equals: the least clipping
  return absmax * MseFactor(static_cast<int>(best - errors.begin()));
}

float RowClip(std::span<float> row, float absmax, RangeKind kind, double percentile) {
  if (kind == RangeKind::kMse) {
    double errors[kMseSteps];
    for (int i = 0; i < kMseSteps; ++i) {
      errors[i] = SquaredError(row, absmax * MseFactor(i));
    }
    return BestAbsMax(errors, absmax);
  }
  if (kind == RangeKind::kPercentile) {
    for (float& value : row) {
      value = std::fabs(value);
    }
    return Quantile(row, percentile / 100);
  }
  return absmax;
}

// The percentile of |w| over the whole matrix: the one case that holds a matrix as float32 (105 MB for fc1 of phi-2).
Result<float> TensorPercentile(const WeightSource& source, double percentile, ThreadPool* pool) {
  std::vector<float> all(static_cast<size_t>(source.matrix.rows * source.matrix.cols));
  RETURN_IF_ERROR(ForWeightRows(source, pool, [&](int64_t n, std::span<float> row, int /*thread*/) {
    std::transform(row.begin(), row.end(), all.begin() + n * source.matrix.cols,
                   [](float value) { return std::fabs(value); });
  }));
  return Quantile(all, percentile / 100);
}

Result<float> TensorMse(const WeightSource& source, float absmax, ThreadPool* pool) {
  // Per row first and then in the order of rows: the sum must not depend on the threads.
  std::vector<double> errors(static_cast<size_t>(source.matrix.rows * kMseSteps));
  RETURN_IF_ERROR(ForWeightRows(source, pool, [&](int64_t n, std::span<float> row, int /*thread*/) {
    for (int i = 0; i < kMseSteps; ++i) {
      errors[static_cast<size_t>(n * kMseSteps + i)] = SquaredError(row, absmax * MseFactor(i));
    }
  }));
  double sums[kMseSteps] = {};
  for (size_t i = 0; i < errors.size(); ++i) {
    sums[i % kMseSteps] += errors[i];
  }
  return BestAbsMax(sums, absmax);
}

Result<std::vector<RowRange>> FindRanges(const WeightSource& source, RangeKind kind, Granularity granularity,
                                         double percentile, ThreadPool* pool) {
  std::vector<RowRange> ranges(static_cast<size_t>(source.matrix.rows));
  const bool per_row = granularity == Granularity::kChannel;
  RETURN_IF_ERROR(ForWeightRows(source, pool, [&](int64_t n, std::span<float> row, int /*thread*/) {
    RowRange& range = ranges[static_cast<size_t>(n)];
    for (const float value : row) {
      range.min = value < range.min ? value : range.min;
      range.max = value > range.max ? value : range.max;
    }
    range.clipped = per_row ? RowClip(row, range.absmax(), kind, percentile) : 0;
  }));
  if (per_row) {
    return ranges;
  }
  RowRange all;
  for (const RowRange& range : ranges) {
    all.min = std::min(all.min, range.min);
    all.max = std::max(all.max, range.max);
  }
  all.clipped = all.absmax();
  if (kind == RangeKind::kPercentile) {
    ASSIGN_OR_RETURN(all.clipped, TensorPercentile(source, percentile, pool));
  } else if (kind == RangeKind::kMse) {
    ASSIGN_OR_RETURN(all.clipped, TensorMse(source, all.absmax(), pool));
  }
  std::fill(ranges.begin(), ranges.end(), all);
  return ranges;
}

}  // namespace

void WeightSource::Row(int64_t n, float* out) const {
  ref::DecodeRow(matrix.dtype, matrix.Row(n), matrix.cols, out);
  if (!column_factor.empty()) {
    for (int64_t k = 0; k < matrix.cols; ++k) {
      out[k] *= column_factor[static_cast<size_t>(k)];
    }
  }
  if (!row_factor.empty()) {
    const float factor = row_factor[static_cast<size_t>(n)];
    for (int64_t k = 0; k < matrix.cols; ++k) {
      out[k] *= factor;
    }
  }
}

Result<WeightQuant> FindWeightQuant(const WeightSource& source, RangeKind kind, Granularity granularity,
                                    double percentile, ThreadPool* pool) {
  ASSIGN_OR_RETURN(const std::vector<RowRange> ranges, FindRanges(source, kind, granularity, percentile, pool));
  WeightQuant quant;
  quant.scale.reserve(ranges.size());
  for (const RowRange& range : ranges) {
    if (kind == RangeKind::kAsymmetric) {
      const numerics::ScaleZero found = numerics::AsymmetricScale(range.min, range.max);
      quant.scale.push_back(found.scale);
      quant.zero_point.push_back(found.zero_point);
    } else {
      quant.scale.push_back(numerics::SymmetricScale(range.clipped).scale);
    }
  }
  return quant;
}

void QuantizeWeightRows(const WeightSource& source, const WeightQuant& quant, int64_t begin, int64_t end, int8_t* out,
                        ThreadPool* pool) {
  const auto k = static_cast<size_t>(source.matrix.cols);
  std::vector<std::vector<float>> rows(static_cast<size_t>(pool->size()), std::vector<float>(k));
  pool->ParallelFor(end - begin, kWeightRowGrain, [&](int64_t from, int64_t to, int thread) {
    std::vector<float>& row = rows[static_cast<size_t>(thread)];
    for (int64_t n = begin + from; n < begin + to; ++n) {
      source.Row(n, row.data());
      const float scale = quant.scale[static_cast<size_t>(n)];
      const float zero = quant.zero_point.empty() ? 0.0F : static_cast<float>(quant.zero_point[static_cast<size_t>(n)]);
      int8_t* q = out + (n - begin) * source.matrix.cols;
      for (size_t i = 0; i < k; ++i) {
        // Divided, as PyTorch does: the stored bytes are compared with those of other programs.
        q[i] = static_cast<int8_t>(numerics::QuantizeS8(row[i] / scale, 1.0F, zero));
      }
    }
  });
}

std::vector<float> ColumnAbsMax(const WeightSource& source) {
  std::vector<float> largest(static_cast<size_t>(source.matrix.cols), 0.0F);
  std::vector<float> row(largest.size());
  for (int64_t n = 0; n < source.matrix.rows; ++n) {
    source.Row(n, row.data());
    for (size_t k = 0; k < row.size(); ++k) {
      const float magnitude = std::fabs(row[k]);
      largest[k] = magnitude > largest[k] ? magnitude : largest[k];
    }
  }
  return largest;
}

}  // namespace phidias
