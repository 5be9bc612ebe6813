#pragma once

#include <cstdint>
#include <vector>

#include "backend/weights.h"
#include "quant/random_weights.h"

namespace phidias {

// 4-bit layers of a synthetic checkpoint: normal weights whose steps, as a quantiser leaves them, differ a little from
// group to group.

// Two weights a draw of 16 bits, as kI4 stores them: each from 8 bits of it, normal.
std::vector<uint8_t> RandomInt4Bytes();

// Row scales and multipliers with which they have this deviation.
WeightQuant RandomInt4Quant(RandomStream random, int64_t rows, int64_t cols, int64_t group, float deviation);

}  // namespace phidias
