#pragma once

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "common/status.h"
#include "model/checkpoint.h"
#include "model/tokenizer/tokenizer.h"
#include "quant/plan.h"

namespace phidias {

// config.json of a `phi` kind checkpoint, from the numbers alone. `dtype`: of the float weights.
nlohmann::json NewConfigJson(const PhiConfig& config, DType dtype);

// config.json of the quantised model: the source's own, if that is of the `phi` kind, else one written from its
// numbers; with `quantization_config`.
Result<std::string> QuantizedConfigText(const Checkpoint& source, const QuantPlan& plan);

// Copies the tokenizer's files and generation_config.json into the directory `dir`. A GGUF source holds its tokenizer
// itself: it becomes a tokenizer.json; one that doesn't work is an error.
Status WriteTokenizerFiles(const Checkpoint& source, const std::string& dir);

// The tokenizer's files that the directory `from` holds, into the directory `to`.
Status CopyTokenizerFiles(const std::string& from, const std::string& to);

// tokenizer.json of a byte-level BPE, as Hugging Face's tokenizers reads it.
std::string TokenizerJsonText(const TokenizerParts& parts);

// What quantization_report.json says about the plan: scheme, ranges of scales and smoothing per linear layer.
nlohmann::ordered_json PlanReport(const QuantPlan& plan);

}  // namespace phidias
