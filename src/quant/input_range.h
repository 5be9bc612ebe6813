#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "backend/weights.h"
#include "quant/calibration_stats.h"
#include "quant/scheme.h"

namespace phidias {

// How a linear layer's input with these values is to be quantised (docs/quantisation.md):
//   symmetric    s = absmax / 127.5
//   asymmetric   min..max with 0 in the range, s = (max - min) / 255
//   percentile   the same on the (100 - p)-th to p-th percentile
//   mse          the same on the clipped range of the least squared error
//   dynamic      symmetric, found per token at run time
InputQuant FindInputQuant(const Histogram& values, RangeKind kind, double percentile);

// The statistics of the input after its channels are divided by `factor` [cols] (all positive). The extremes are exact;
// the histogram between them is that of `samples` [any number, cols], because a histogram of all channels together
// can't be divided by channel.
Histogram SmoothedHistogram(const ActivationStats& stats, std::span<const float> samples,
                            const std::vector<float>& factor);

}  // namespace phidias
