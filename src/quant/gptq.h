#pragma once

#include <cstddef>
#include <vector>

#include "backend/weights.h"
#include "common/thread_pool.h"
#include "quant/hessian.h"
#include "quant/weight_quantizer.h"

namespace phidias {

// GPTQ (Frantar et al., 2023): columns are rounded one after the other, and what a column's rounding does to the
// outputs is made up for by those that come after it, as the inputs' Hessian says. Row scales stay as they are in
// `quant`; a group's multiplier is chosen (least squared error, each column by what its rounding costs) when its first
// column's turn comes, from the weights as they are then. Returns the rows as kI4 stores them. `factor` is of the
// layer's inputs, `source` finite.
std::vector<std::byte> QuantizeGptq(const WeightSource& source, const HessianFactor& factor, WeightQuant* quant,
                                    ThreadPool* pool);

}  // namespace phidias
