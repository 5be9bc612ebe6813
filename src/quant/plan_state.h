#pragma once

#include <cstdint>
#include <string>

#include "quant/plan.h"

namespace phidias {

// A planned layer (smoothing, scales) in a file, so that an interrupted run doesn't search them again.

// The file of layer `layer` (from 0) of the run whose calibration's state is `state_path`.
std::string PlanStateFile(const std::string& state_path, int64_t layer);

// Everything that a plan depends on: the model, the statistics (null: none), the scheme.
std::string PlanFingerprint(const Checkpoint& source, const CalibrationStats* stats, const QuantScheme& scheme);

Status WritePlanState(const std::string& path, const std::string& fingerprint, const LayerPlan& layer);

// Whether the file holds this plan's layer, which is then filled in; before, `layer` has the names, weights and biases
// of the checkpoint. False without a file, and for a plan of other data or options: finding it anew takes minutes at
// most, and the file is then overwritten. Data errors name it: no such state, damaged.
Result<bool> ReadPlanState(const std::string& path, const std::string& fingerprint, LayerPlan* layer);

void RemovePlanState(const std::string& state_path, int64_t n_layers);

}  // namespace phidias
