#pragma once

#include <set>
#include <string>

#include "backend/weights.h"
#include "common/status.h"
#include "model/files/tensor_store.h"
#include "model/quantization_config.h"
#include "model/tensor_picker.h"

namespace phidias {

// Finds the numbers of 4-bit layers: those that phidias_int4.safetensors holds, or, in files of other programs, row
// scales and multipliers fitted to their `weight_scale`.
class Int4Binder {
 public:
  // Both may be null: no constants file, and nowhere to keep rows that are rounded anew (they then stay as stored).
  // Both outlive this; the rows are kept in memory->owned.
  Int4Binder(const TensorStore* constants, TensorStore* memory) : constants_(constants), memory_(memory) {}

  // `stem`.weight_packed, .weight_scale and .weight_shape into out->weight and out->quant.
  Status Bind(const QuantizationGroup& group, const std::string& stem, const Dim& rows, const Dim& cols,
              TensorPicker* tensors, LinearWeights* out);

  // After all layers: that the constants file holds nothing else.
  Status CheckNothingIsLeft() const;
  // What fitting cost, for people: empty where nothing was lost.
  std::string Warning(const std::string& path) const;

 private:
  Status ReadConstants(const std::string& stem, const std::vector<float>& scales, LinearWeights* out);
  void Fit(const std::string& stem, const std::vector<float>& scales, LinearWeights* out);

  const TensorStore* constants_;
  TensorStore* memory_;
  std::set<std::string> used_;
  // Squares of all fitted weights and of what they lost; the same of the layer that lost most.
  double signal_ = 0;
  double noise_ = 0;
  double worst_share_ = 0;
  std::string worst_;
};

}  // namespace phidias
