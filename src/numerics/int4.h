#pragma once

#include "numerics/bits.h"

namespace phidias {
namespace numerics {

// 4-bit weights (docs/numerics.md, "4-bit weights"): w = scale * multiplier * q with an integer multiplier of 1..63 for
// every group of inputs of a row and q in -8..7, stored as q + 8, two in a byte, the first in the lower half.

static constexpr int32_t kI4Offset = 8;
static constexpr int32_t kI4Min = -8;
static constexpr int32_t kI4Max = 7;
static constexpr int32_t kI4MultiplierMax = 63;
// Rows of this length stay in int32: sums of products with any zero point of the input folded in, at most 63 * 8 * 255
// * 16384 = 2.11e9, and those of the `integer` arithmetic, 63 * 8 * 128 * 16384, with a bias of up to 2^30.
static constexpr int64_t kI4MaxInputs = 16384;

// The weight of input k from the byte that holds it (byte k / 2 of the row).
PHIDIAS_INLINE int32_t UnpackI4(uint32_t byte, int64_t k) {
  return static_cast<int32_t>(byte >> (4 * (k & 1)) & 15u) - kI4Offset;
}

}  // namespace numerics
}  // namespace phidias
