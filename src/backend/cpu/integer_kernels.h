#pragma once

#include <cstdint>

#include "backend/cpu/attention_s8.h"
#include "ref/integer_ops.h"

namespace phidias::cpu {

// Row operators of the `integer` arithmetic for one instruction set; where no comment says otherwise, the contracts are
// those of the functions of these names in ref/integer_ops.h.
struct IntegerKernels {
  void (*layer_norm)(const int32_t* x, int64_t n, const ref::NormConstants& constants, int32_t* y);
  void (*requantize_row)(const int32_t* acc, int64_t n, const ref::RequantizeConstants& constants, int32_t* y);
  void (*rotary)(const int16_t* cos_row, const int16_t* sin_row, int64_t rotary_dim, int64_t head_dim, const int32_t* x,
                 int8_t* q);
  void (*attention)(const AttentionS8Args& args);
  void (*gelu)(const int8_t* table, const int32_t* x, int64_t n, int8_t* y);  // y[i] = table[x[i] + 128]
  // x[i] = numerics::AddResidual; returns how many had to be saturated.
  int64_t (*add_residual)(const int32_t* attention, const int32_t* mlp, int64_t n, int32_t* x);
};

}  // namespace phidias::cpu
