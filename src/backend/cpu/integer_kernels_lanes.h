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

void RotaryS16(const int16_t* cos_row, const int16_t* sin_row, int64_t rotary_dim, int64_t head_dim, const int32_t* x,
               int8_t* q) {
  const int64_t half = rotary_dim / 2;
  for (int64_t i = 0; i < half; ++i) {
    int32_t low = 0;
    int32_t high = 0;
    numerics::RotateS16(cos_row[i], sin_row[i], x[i], x[i + half], &low, &high);
    q[i] = static_cast<int8_t>(low);
    q[i + half] = static_cast<int8_t>(high);
  }
  for (int64_t i = rotary_dim; i < head_dim; ++i) {
    q[i] = static_cast<int8_t>(numerics::NarrowS16(x[i]));
  }
}

void GeluS8(const int8_t* table, const int32_t* x, int64_t n, int8_t* y) {
  for (int64_t i = 0; i < n; ++i) {
    y[i] = table[x[i] + 128];
  }
}

int64_t AddResidualS32(const int32_t* attention, const int32_t* mlp, int64_t n, int32_t* x) {
  int64_t saturated = 0;
  for (int64_t i = 0; i < n; ++i) {
    x[i] = numerics::AddResidual(x[i], attention[i], mlp[i], &saturated);
  }
  return saturated;
}

}  // namespace
}  // namespace phidias::cpu::PHIDIAS_ISA
