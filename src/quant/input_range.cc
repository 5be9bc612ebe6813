#include "quant/input_range.h"

#include <algorithm>
#include <array>

#include "numerics/quantize.h"

namespace phidias {
namespace {

InputQuant Static(numerics::ScaleZero found, bool symmetric) {
  return {
      .kind = InputQuant::Kind::kStatic, .symmetric = symmetric, .scale = found.scale, .zero_point = found.zero_point};
}

// Candidates for a clipped end of the range: 0.95^i of the extreme, down to a twentieth.
constexpr int kClips = 60;
using Clips = std::array<double, kClips>;

Clips ClipValues(double extreme) {
  Clips clips{};
  double value = extreme;
  for (double& clip : clips) {
    clip = value;
    value *= 0.95;
  }
  return clips;
}

// For each candidate, the squared error of what lies beyond it.
Clips ClipErrors(const Histogram& values, const Clips& clips, double sign) {
  Clips errors{};
  values.ForEachBin([&](double centre, int64_t count) {
    for (int i = 0; i < kClips; ++i) {
      const double beyond = sign * (centre - clips[static_cast<size_t>(i)]);
      errors[static_cast<size_t>(i)] += beyond > 0 ? static_cast<double>(count) * beyond * beyond : 0;
    }
  });
  return errors;
}

// Rounding to steps of s has a squared error of s^2 / 12 a value; clipping trades it against what it cuts off.
numerics::ScaleZero BestClippedScale(const Histogram& values) {
  const Clips low = ClipValues(std::min(values.min(), 0.0F));
  const Clips high = ClipValues(std::max(values.max(), 0.0F));
  const Clips low_errors = ClipErrors(values, low, -1);
  const Clips high_errors = ClipErrors(values, high, 1);
  double best = -1;
  size_t best_low = 0;
  size_t best_high = 0;
  for (size_t i = 0; i < kClips; ++i) {
    for (size_t j = 0; j < kClips; ++j) {
      const double step = (high[j] - low[i]) / 255;
      const double error = low_errors[i] + high_errors[j] + static_cast<double>(values.count()) * step * step / 12;
      if (best < 0 || error < best) {
        best = error;
        best_low = i;
        best_high = j;
      }
    }
  }
  return numerics::AsymmetricScale(static_cast<float>(low[best_low]), static_cast<float>(high[best_high]));
}

}  // namespace

InputQuant FindInputQuant(const Histogram& values, RangeKind kind, double percentile) {
  const double share = percentile / 100;
  switch (kind) {
    case RangeKind::kNone:
    case RangeKind::kGptq: break;  // of weights alone
    case RangeKind::kSymmetric: return Static(numerics::SymmetricScale(values.absmax()), true);
    case RangeKind::kAsymmetric: return Static(numerics::AsymmetricScale(values.min(), values.max()), false);
    case RangeKind::kPercentile:
      return Static(numerics::AsymmetricScale(values.Quantile(1 - share), values.Quantile(share)), false);
    case RangeKind::kMse: return Static(BestClippedScale(values), false);
    case RangeKind::kDynamic: return {.kind = InputQuant::Kind::kDynamic, .symmetric = true};
  }
  return {};
}

Histogram SmoothedHistogram(const ActivationStats& stats, std::span<const float> samples,
                            const std::vector<float>& factor) {
  const size_t cols = factor.size();
  std::vector<float> values(samples.begin(), samples.end());
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] /= factor[i % cols];
  }
  float low = 0;
  float high = 0;
  for (size_t i = 0; i < cols; ++i) {
    low = std::min(low, stats.channel_min[i] / factor[i]);
    high = std::max(high, stats.channel_max[i] / factor[i]);
  }
  values.push_back(low);
  values.push_back(high);
  Histogram histogram;
  histogram.Add(values);
  return histogram;
}

}  // namespace phidias
