#pragma once

#include <cstddef>
#include <cstdint>

#include "model/checkpoint.h"
#include "quant/plan.h"

namespace phidias {

// The quantised model in memory: int8 and 4-bit weights (and those that smoothing changed) in buffers of its own,
// everything else shared with `source`'s store. For trying schemes out; models that don't fit twice are written with
// WriteQuantizedCheckpoint.
Checkpoint ApplyQuantPlan(const Checkpoint& source, const QuantPlan& plan, ThreadPool* pool);

// Rows [begin, end) of a linear layer in 4 bits, as kI4 stores them.
void PackRows(const LinearPlan& plan, int64_t begin, int64_t end, std::byte* out, ThreadPool* pool);

// One layer of it. Buffers of its own are kept by `store`.
PhiLayerWeights ApplyLayerPlan(const PhiLayerWeights& source, const LayerPlan& plan, ThreadPool* pool,
                               TensorStore* store);

// MakeQuantPlan and ApplyQuantPlan.
Result<Checkpoint> QuantizeModel(const Checkpoint& source, const CalibrationStats* stats, const QuantScheme& scheme,
                                 ThreadPool* pool);

}  // namespace phidias
