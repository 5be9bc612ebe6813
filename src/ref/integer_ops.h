#pragma once

#include <cstdint>

#include "numerics/integer.h"

// Scalar operators of the `integer` arithmetic, the oracle for the CPU's and the card's. Constants as
// numerics/integer.h describes them; arrays of factors are split into multipliers and shifts, as vector code and
// kernels read them.
namespace phidias::ref {

struct NormConstants {
  const int32_t* gain = nullptr;    // [n] gamma * sqrt(n) / output scale, gain_shift - kNormBits fraction bits
  const int32_t* offset = nullptr;  // [n] beta / output scale + zero point, kNormOffsetBits fraction bits
  int32_t gain_shift = 0;
  uint64_t eps_term = 1;  // n * eps in squared steps of the residual, at least 1
  int32_t low = -128;     // range of the output: int8, or int16 for the final norm
  int32_t high = 127;
};

void LayerNormS32(const int32_t* x, int64_t n, const NormConstants& constants, int32_t* y);

struct RequantizeConstants {
  const int32_t* bias = nullptr;        // [n]
  const int32_t* multiplier = nullptr;  // [n]
  const int32_t* shift = nullptr;       // [n]
  int32_t zero_point = 0;
  int32_t low = 0;
  int32_t high = 0;
};

// y[n] = round((acc[n] + bias[n]) * factor[n]) + zero_point, clamped.
void RequantizeRow(const int32_t* acc, int64_t n, const RequantizeConstants& constants, int32_t* y);

// One head, int16 in, int8 out: the first rotary_dim elements rotated, the others narrowed. cos_row and sin_row in
// Q1.14.
void RotaryS16(const int16_t* cos_row, const int16_t* sin_row, int64_t rotary_dim, int64_t head_dim, const int32_t* x,
               int8_t* q);

struct AttentionConstants {
  numerics::FixedFactor to_steps;      // scores to steps of the exponent
  numerics::FixedFactor ratio;         // value scale / scale of dense's input
  int32_t zero_point = 0;              // of dense's input
  const int32_t* exp_table = nullptr;  // [kExpTableSize]
};

// probabilities[j] from scores[j]; returns their sum.
int32_t Probabilities(const int32_t* scores, int64_t count, const AttentionConstants& constants,
                      int32_t* probabilities);

// acc[d] = sum_j probabilities[j] * values[j * stride + d].
void WeightedValues(const int32_t* probabilities, const int8_t* values, int64_t stride, int64_t count, int64_t head_dim,
                    int32_t* acc);

// One query head over `count` <= kMaxIntegerContext positions, int8 everywhere. scores and probabilities: [count]
// working space. out[head_dim] on the grid of dense's input.
void AttentionHeadS8(const int8_t* q, const int8_t* keys, const int8_t* values, int64_t stride, int64_t count,
                     int64_t head_dim, const AttentionConstants& constants, int32_t* scores, int32_t* probabilities,
                     int8_t* out);

}  // namespace phidias::ref
