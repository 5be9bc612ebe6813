#include "ref/integer_ops.h"

#include "ref/linear_s8.h"

namespace phidias::ref {

void LayerNormS32(const int32_t* x, int64_t n, const NormConstants& constants, int32_t* y) {
  int64_t sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    sum += x[i];
  }
  numerics::NormStatistics row{};
  row.mean = numerics::RowMean(sum, static_cast<int32_t>(n));
  uint64_t squares = constants.eps_term;
  for (int64_t i = 0; i < n; ++i) {
    const int64_t d = static_cast<int64_t>(x[i]) - row.mean;
    squares += static_cast<uint64_t>(d * d);
  }
  row.inverse_norm = numerics::InverseSquareRoot(squares);
  for (int64_t i = 0; i < n; ++i) {
    y[i] = numerics::NormElement(x[i], row, constants.gain[i], constants.gain_shift, constants.offset[i], constants.low,
                                 constants.high);
  }
}

void RequantizeRow(const int32_t* acc, int64_t n, const RequantizeConstants& constants, int32_t* y) {
  for (int64_t i = 0; i < n; ++i) {
    y[i] = numerics::RequantizeAcc(acc[i], constants.bias[i], {constants.multiplier[i], constants.shift[i]},
                                   constants.zero_point, constants.low, constants.high);
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

int32_t Probabilities(const int32_t* scores, int64_t count, const AttentionConstants& constants,
                      int32_t* probabilities) {
  int32_t max = scores[0];
  for (int64_t j = 1; j < count; ++j) {
    max = scores[j] > max ? scores[j] : max;
  }
  int32_t sum = 0;
  for (int64_t j = 0; j < count; ++j) {
    probabilities[j] = numerics::Probability(max - scores[j], constants.to_steps, constants.exp_table);
    sum += probabilities[j];
  }
  return sum;
}

void WeightedValues(const int32_t* probabilities, const int8_t* values, int64_t stride, int64_t count, int64_t head_dim,
                    int32_t* acc) {
  for (int64_t d = 0; d < head_dim; ++d) {
    acc[d] = 0;
    for (int64_t j = 0; j < count; ++j) {
      acc[d] += probabilities[j] * values[j * stride + d];
    }
  }
}

void AttentionHeadS8(const int8_t* q, const int8_t* keys, const int8_t* values, int64_t stride, int64_t count,
                     int64_t head_dim, const AttentionConstants& constants, int32_t* scores, int32_t* probabilities,
                     int8_t* out) {
  for (int64_t j = 0; j < count; ++j) {
    scores[j] = DotS8(q, keys + j * stride, head_dim);
  }
  const numerics::FixedFactor inverse_sum =
      numerics::InverseSum(Probabilities(scores, count, constants, probabilities));
  for (int64_t d = 0; d < head_dim; ++d) {
    int32_t acc = 0;
    WeightedValues(probabilities, values + d, stride, count, 1, &acc);
    out[d] = static_cast<int8_t>(numerics::AttentionElement(acc, inverse_sum, constants.ratio, constants.zero_point));
  }
}

}  // namespace phidias::ref
