#pragma once

#include <string>

#include "backend/weights.h"
#include "common/status.h"
#include "model/int4_binding.h"
#include "model/quantization_config.h"
#include "model/tensor_picker.h"

namespace phidias {

// The tensors of a linear layer that `group` quantises, beside its bias: `stem`.weight as int8 where the group
// quantises weights (else float; 4 bits are left to `int4`), .weight_scale, .weight_zero_point, .input_scale,
// .input_zero_point where the scheme has them (docs/formats.md). Sets out->weight, out->quant and out->input. Scales
// are positive and at least numerics::kMinScale: smaller ones are raised, as compressed-tensors never writes any.
Status BindQuantizedLinear(const QuantizationGroup& group, const std::string& stem, const Dim& rows, const Dim& cols,
                           TensorPicker* tensors, Int4Binder* int4, LinearWeights* out);

}  // namespace phidias
