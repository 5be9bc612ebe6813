#pragma once

#include "model/checkpoint.h"
#include "quant/plan.h"

namespace phidias {

// The quantised model in memory: int8 weights (and those that smoothing changed) in buffers of its own, everything else
// shared with `source`'s store. For trying schemes out; models that don't fit twice are written with
// WriteQuantizedCheckpoint.
Checkpoint ApplyQuantPlan(const Checkpoint& source, const QuantPlan& plan, ThreadPool* pool);

// MakeQuantPlan and ApplyQuantPlan.
Result<Checkpoint> QuantizeModel(const Checkpoint& source, const CalibrationStats* stats, const QuantScheme& scheme,
                                 ThreadPool* pool);

}  // namespace phidias
