#pragma once

#include <cstdint>

#include "backend/weights.h"
#include "common/status.h"
#include "ref/linear_i4.h"

namespace phidias {

// Whether a kI4 weight is one that the products take. Errors name the layer: a group other than 32, 64 or 128, too few
// or too many multipliers, one outside 1..63, rows of more than numerics::kI4MaxInputs.
Status CheckInt4(const LinearWeights& linear);

// Row n of a kI4 weight, stored at `packed`.
inline ref::RowI4 RowOfInt4(const LinearWeights& linear, const std::byte* packed, int64_t n) {
  const WeightQuant& quant = linear.quant;
  return {packed, quant.multiplier.data() + n * quant.Groups(linear.weight.cols), quant.group};
}
inline ref::RowI4 RowOfInt4(const LinearWeights& linear, int64_t n) {
  return RowOfInt4(linear, linear.weight.Row(n), n);
}

}  // namespace phidias
