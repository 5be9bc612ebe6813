#pragma once

#include <optional>
#include <string>

#include "common/status.h"
#include "quant/plan.h"

namespace phidias {

// A finished layer of a GPTQ run on disk.
std::string GptqStateFile(const std::string& state_path, int64_t layer);

// Multipliers and packed rows of the layer's 4-bit linear layers.
Status WriteGptqState(const std::string& path, const std::string& fingerprint, const LayerPlan& layer);

// Puts them into `layer`; false where there is no such file. Errors name the file: not a state, damaged, of another
// run.
Result<bool> ReadGptqState(const std::string& path, const std::string& fingerprint, LayerPlan* layer);

}  // namespace phidias
