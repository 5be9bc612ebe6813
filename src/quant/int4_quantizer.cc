#include "quant/int4_quantizer.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "backend/int4_rows.h"
#include "numerics/quantize.h"
#include "numerics/rounding.h"
#include "quant/weight_rows.h"

namespace phidias {
namespace {

constexpr float kSteps = 7.5F;  // compressed-tensors' rule: the range -absmax..absmax has 15 steps
constexpr auto kMaxMultiplier = static_cast<float>(numerics::kI4MultiplierMax);

float AbsMax(std::span<const float> values) {
  float largest = 0;
  for (const float value : values) {
    const float magnitude = std::fabs(value);
    largest = magnitude > largest ? magnitude : largest;
  }
  return largest;
}

// Sum of squared differences after rounding to steps of `step`, each times its importance if there are any. Sixteen
// sums side by side: the compiler may not reorder one.
template <bool kWeighted>
float SquaredError(std::span<const float> values, std::span<const float> importance, float step) {
  constexpr float kRound = 12582912.0F;  // 1.5 * 2^23: adding and subtracting it rounds half to even
  const float inverse = 1.0F / step;
  float sums[16] = {};
  for (size_t k = 0; k < values.size(); ++k) {
    float t = values[k] * inverse;
    t = t > static_cast<float>(numerics::kI4Min) ? t : static_cast<float>(numerics::kI4Min);
    t = t < static_cast<float>(numerics::kI4Max) ? t : static_cast<float>(numerics::kI4Max);
    const float difference = values[k] - ((t + kRound) - kRound) * step;
    sums[k % 16] += kWeighted ? difference * difference * importance[k] : difference * difference;
  }
  float total = 0;
  for (const float sum : sums) {
    total += sum;
  }
  return total;
}

uint8_t NearestMultiplier(float step, float scale) {
  return static_cast<uint8_t>(std::clamp(std::nearbyint(step / scale), 1.0F, kMaxMultiplier));
}

float RowScale(float largest_step) {
  return std::max(largest_step / kMaxMultiplier, numerics::kMinScale);
}

// One row's scale and multipliers.
class RowFit {
 public:
  RowFit(std::span<const float> row, int64_t group, uint8_t* multipliers)
      : row_(row), group_(static_cast<size_t>(group)), multipliers_(multipliers) {}

  float Symmetric() {
    const float scale = RowScale(AbsMax(row_) / kSteps);
    ForGroups([&](std::span<const float> values) { return NearestMultiplier(AbsMax(values) / kSteps, scale); });
    return scale;
  }

  float Mse() {
    float scale = RowScale(AbsMax(row_) / kSteps);
    const uint8_t largest = ForGroups([&](std::span<const float> values) { return BestInt4Multiplier(values, scale); });
    if (largest < numerics::kI4MultiplierMax) {
      scale = RowScale(scale * static_cast<float>(largest));
      ForGroups([&](std::span<const float> values) { return BestInt4Multiplier(values, scale); });
    }
    return scale;
  }

 private:
  // multiplier = choose(group's values) for each group; the largest of them.
  template <class Choose>
  uint8_t ForGroups(Choose choose) {
    uint8_t largest = 1;
    for (size_t k = 0, g = 0; k < row_.size(); k += group_, ++g) {
      multipliers_[g] = choose(row_.subspan(k, std::min(group_, row_.size() - k)));
      largest = std::max(largest, multipliers_[g]);
    }
    return largest;
  }

  std::span<const float> row_;
  size_t group_;
  uint8_t* multipliers_;
};

}  // namespace

uint8_t BestInt4Multiplier(std::span<const float> values, float scale, std::span<const float> importance) {
  const auto error_of = [&](int32_t m) {
    const float step = scale * static_cast<float>(m);
    return importance.empty() ? SquaredError<false>(values, {}, step) : SquaredError<true>(values, importance, step);
  };
  // Steps of half to slightly more than what the extreme asks for: outside, the error only grows.
  const float wanted = AbsMax(values) / kSteps / scale;
  const int32_t first =
      std::clamp(static_cast<int32_t>(0.5F * std::min(wanted, 2 * kMaxMultiplier)), 1, numerics::kI4MultiplierMax);
  const int32_t last =
      std::clamp(static_cast<int32_t>(1.1F * std::min(wanted, kMaxMultiplier)) + 1, first, numerics::kI4MultiplierMax);
  int32_t best = last;
  float least = error_of(best);
  for (int32_t m = last - 1; m >= first; --m) {
    const float error = error_of(m);
    if (error < least) {
      least = error;
      best = m;
    }
  }
  return static_cast<uint8_t>(best);
}

int8_t RoundInt4(float value, float step) {
  float t = value / step;
  t = t > static_cast<float>(numerics::kI4Min) ? t : static_cast<float>(numerics::kI4Min);
  t = t < static_cast<float>(numerics::kI4Max) ? t : static_cast<float>(numerics::kI4Max);
  return static_cast<int8_t>(numerics::RoundHalfEven(t));
}

Result<WeightQuant> FindInt4Quant(const WeightSource& source, RangeKind kind, int64_t group, ThreadPool* pool) {
  WeightQuant quant;
  quant.group = group;
  const int64_t groups = quant.Groups(source.matrix.cols);
  quant.scale.resize(static_cast<size_t>(source.matrix.rows));
  quant.multiplier.resize(static_cast<size_t>(source.matrix.rows * groups));
  RETURN_IF_ERROR(ForWeightRows(source, pool, [&](int64_t n, std::span<float> row, int /*thread*/) {
    RowFit fit(row, group, quant.multiplier.data() + n * groups);
    quant.scale[static_cast<size_t>(n)] = kind == RangeKind::kSymmetric ? fit.Symmetric() : fit.Mse();
  }));
  return quant;
}

void QuantizeInt4Rows(const WeightSource& source, const WeightQuant& quant, int64_t begin, int64_t end, std::byte* out,
                      ThreadPool* pool) {
  const int64_t cols = source.matrix.cols;
  const int64_t groups = quant.Groups(cols);
  const int64_t row_bytes = DTypeBytes(DType::kI4, cols);
  const auto threads = static_cast<size_t>(pool->size());
  std::vector<std::vector<float>> rows(threads, std::vector<float>(static_cast<size_t>(cols)));
  std::vector<std::vector<int8_t>> codes(threads, std::vector<int8_t>(static_cast<size_t>(cols)));
  pool->ParallelFor(end - begin, kWeightRowGrain, [&](int64_t from, int64_t to, int thread) {
    std::vector<float>& row = rows[static_cast<size_t>(thread)];
    std::vector<int8_t>& q = codes[static_cast<size_t>(thread)];
    for (int64_t n = begin + from; n < begin + to; ++n) {
      source.Row(n, row.data());
      for (int64_t k = 0; k < cols; ++k) {
        q[static_cast<size_t>(k)] = RoundInt4(row[static_cast<size_t>(k)], Int4Step(quant, groups, n, k / quant.group));
      }
      PackInt4Row(q.data(), cols, out + (n - begin) * row_bytes);
    }
  });
}

}  // namespace phidias
