// The integer row operators, compiled once per instruction set by the kernels_ISA.cc files. Integer sums have no order,
// so plain loops over the specification's elements are enough: the compiler widens them as far as the set allows.
#pragma once

#include "backend/cpu/integer_kernels.h"

namespace phidias::cpu::PHIDIAS_ISA {
namespace {

void LayerNormS32(const int32_t* x, int64_t n, const ref::NormConstants& constants, int32_t* y) {
  int64_t sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    sum += x[i];
  }
  const int32_t mean = numerics::RowMean(sum, static_cast<int32_t>(n));
  uint64_t squares = constants.eps_term;
  for (int64_t i = 0; i < n; ++i) {
    const int64_t d = static_cast<int64_t>(x[i]) - mean;
    squares += static_cast<uint64_t>(d * d);
  }
  const numerics::NormStatistics row = {mean, numerics::InverseSquareRoot(squares)};
  const int32_t gain_shift = constants.gain_shift;
  const int32_t low = constants.low;
  const int32_t high = constants.high;
  const int32_t* gain = constants.gain;
  const int32_t* offset = constants.offset;
  for (int64_t i = 0; i < n; ++i) {
    y[i] = numerics::NormElement(x[i], row, gain[i], gain_shift, offset[i], low, high);
  }
}

void RequantizeRow(const int32_t* acc, int64_t n, const ref::RequantizeConstants& constants, int32_t* y) {
  const ref::RequantizeConstants c = constants;
  for (int64_t i = 0; i < n; ++i) {
    y[i] = numerics::RequantizeAcc(acc[i], c.bias[i], {c.multiplier[i], c.shift[i]}, c.zero_point, c.low, c.high);
  }
}

int32_t Probabilities(const int32_t* scores, int64_t count, const ref::AttentionConstants& constants,
                      int32_t* probabilities) {
  int32_t max = scores[0];
  for (int64_t j = 1; j < count; ++j) {
    max = scores[j] > max ? scores[j] : max;
  }
  const numerics::FixedFactor to_steps = constants.to_steps;
  const int32_t* exp_table = constants.exp_table;
  int32_t sum = 0;
  for (int64_t j = 0; j < count; ++j) {
    const int32_t p = numerics::Probability(max - scores[j], to_steps, exp_table);
    probabilities[j] = p;
    sum += p;
  }
  return sum;
}

// Positions outside, head_dim inside: values are read as they lie. A position without weight adds nothing.
void WeightedValues(const int32_t* probabilities, const int8_t* values, int64_t stride, int64_t count, int64_t head_dim,
                    int32_t* acc) {
  for (int64_t d = 0; d < head_dim; ++d) {
    acc[d] = 0;
  }
  for (int64_t j = 0; j < count; ++j) {
    const int32_t p = probabilities[j];
    if (p == 0) {
      continue;
    }
    const int8_t* row = values + j * stride;
    for (int64_t d = 0; d < head_dim; ++d) {
      acc[d] += p * row[d];
    }
  }
}

}  // namespace
}  // namespace phidias::cpu::PHIDIAS_ISA
