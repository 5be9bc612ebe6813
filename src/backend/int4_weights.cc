#include "backend/int4_weights.h"

#include <algorithm>

#include "numerics/int4.h"

namespace phidias {

Status CheckInt4(const LinearWeights& linear) {
  const WeightQuant& quant = linear.quant;
  if (quant.group != 32 && quant.group != 64 && quant.group != 128) {
    return Unsupported(linear.name, ": groups of ", quant.group, " inputs; the products take 32, 64 or 128");
  }
  if (linear.weight.cols > numerics::kI4MaxInputs) {
    return Unsupported(linear.name, ": rows of ", linear.weight.cols, " 4-bit weights; sums of more than ",
                       numerics::kI4MaxInputs, " don't fit 32 bits (quantise it to int8)");
  }
  const auto expected = static_cast<size_t>(linear.weight.rows * quant.Groups(linear.weight.cols));
  if (quant.multiplier.size() != expected) {
    return DataError(linear.name, ": ", quant.multiplier.size(), " multipliers; expected one for each row and group, ",
                     expected);
  }
  const auto bad = std::find_if(quant.multiplier.begin(), quant.multiplier.end(), [](uint8_t multiplier) {
    return multiplier < 1 || multiplier > numerics::kI4MultiplierMax;
  });
  if (bad != quant.multiplier.end()) {
    return DataError(linear.name, ": a multiplier of ", static_cast<int32_t>(*bad), " at index ",
                     bad - quant.multiplier.begin(), "; expected 1 to ", numerics::kI4MultiplierMax);
  }
  return {};
}

}  // namespace phidias
