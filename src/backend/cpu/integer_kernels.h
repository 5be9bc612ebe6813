#pragma once

#include <cstdint>

#include "ref/integer_ops.h"

namespace phidias::cpu {

// Row operators of the `integer` arithmetic for one instruction set; the contracts are those of the functions of the
// same names in ref/integer_ops.h.
struct IntegerKernels {
  void (*layer_norm)(const int32_t* x, int64_t n, const ref::NormConstants& constants, int32_t* y);
  void (*requantize_row)(const int32_t* acc, int64_t n, const ref::RequantizeConstants& constants, int32_t* y);
  int32_t (*probabilities)(const int32_t* scores, int64_t count, const ref::AttentionConstants& constants,
                           int32_t* probabilities);
  void (*weighted_values)(const int32_t* probabilities, const int8_t* values, int64_t stride, int64_t count,
                          int64_t head_dim, int32_t* acc);
};

}  // namespace phidias::cpu
