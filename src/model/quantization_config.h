#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "backend/weights.h"
#include "common/status.h"
#include "model/module_patterns.h"

namespace phidias {

// `quantization_config` of a config.json in compressed-tensors form (docs/formats.md, "The int8 checkpoint").

struct WeightScheme {
  bool symmetric = true;    // no zero points
  bool per_channel = true;  // a scale per row, or one for the tensor
  int64_t bits = 8;         // or 4: symmetric, packed
  int64_t group = 0;        // of 4 bits: inputs that share a scale; 0: all of a row

  bool operator==(const WeightScheme&) const = default;
};

// What is quantised of a linear layer.
struct QuantizationScheme {
  std::optional<WeightScheme> weights;  // none: the weight is float
  InputQuant::Kind input = InputQuant::Kind::kNone;
  bool input_symmetric = true;

  bool operator==(const QuantizationScheme&) const = default;
};

struct QuantizationGroup {
  std::string field;  // "quantization_config.config_groups.group_0", for messages
  ModulePatterns targets;
  QuantizationScheme scheme;
};

struct QuantizationConfig {
  // "int-quantized" or "naive-quantized": the same tensors; "pack-quantized": 4 bits; "mixed-precision": each group's
  // own
  std::string format;
  std::vector<QuantizationGroup> groups;
  ModulePatterns ignore;
  std::vector<std::string> warnings;  // fields that were passed over
};

// `json` is the value of config.json's field `field` ("quantization_config"), `path` names the file in messages. What
// isn't run here (other methods, formats, bit widths, groups within a row) is named, with what to use instead.
Result<QuantizationConfig> ParseQuantizationConfig(const nlohmann::json& json, const std::string& path,
                                                   const std::string& field = "quantization_config");

// Tells which linear layers are quantised, and keeps account of patterns that match none. Where several groups target a
// layer, the most specific target counts (see PatternMatch), then the first group by name. `config` outlives this.
class QuantizationMatcher {
 public:
  explicit QuantizationMatcher(const QuantizationConfig& config);

  // The group that quantises the layer (named as in the `phi` kind: "model.layers.0.self_attn.q_proj", "lm_head"), or
  // nullptr: it is ignored or not targeted.
  Result<const QuantizationGroup*> Find(const std::string& module);

  // After all layers were looked up: the configuration's own warnings, and patterns that matched none.
  std::vector<std::string> Warnings() const;

 private:
  const QuantizationConfig& config_;
  std::vector<bool> ignore_matched_;
  std::vector<std::vector<bool>> target_matched_;  // per group
};

// The block that a checkpoint of one scheme for all linear layers but `ignore` gets, fields in docs/formats.md's order.
nlohmann::ordered_json QuantizationConfigJson(const QuantizationScheme& scheme, const std::vector<std::string>& ignore);

// The same with schemes of their own for layers named in their targets.
struct TargetedScheme {
  std::vector<std::string> targets;
  QuantizationScheme scheme;
};
nlohmann::ordered_json QuantizationConfigJson(const std::vector<TargetedScheme>& groups,
                                              const std::vector<std::string>& ignore);

}  // namespace phidias
