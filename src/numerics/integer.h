#pragma once

#include "numerics/bits.h"
#include "numerics/rounding.h"

namespace phidias {
namespace numerics {

// The `integer` arithmetic (docs/numerics.md): the whole model from the embedding to the logits in integers. Sums are
// exact, so their order doesn't matter. What stands here is what a kernel executes; the constants are made once on the
// host by integer_constants.h beside this file.

// --- fixed-point multiplication ---

// A positive real factor as multiplier * 2^-shift, multiplier in [2^30, 2^31) (0 stands for a factor of 0).
struct FixedFactor {
  int32_t multiplier;
  int32_t shift;  // 1..62
};

// round(value * factor), half to even. |value| < 2^32, so the product stays below 2^63.
PHIDIAS_INLINE int64_t MultiplyFixed(int64_t value, FixedFactor factor) {
  return ShiftRightHalfEven(value * factor.multiplier, factor.shift);
}

PHIDIAS_INLINE int32_t Clamp(int64_t value, int32_t low, int32_t high) {
  return value < low ? low : (value > high ? high : static_cast<int32_t>(value));
}

// --- residual stream: int32 in steps of 2^-residual_shift ---

// The stream saturates at 25 bits with sign: LayerNorm's sum of squares then fits 64 bits for 8,192 channels, and a
// difference from the mean fits the card's multipliers. Calibration leaves six bits of head room below.
static constexpr int32_t kResidualMax = (1 << 24) - 1;

// x + attention + mlp, saturating. `saturated` is raised by one if it had to.
PHIDIAS_INLINE int32_t AddResidual(int32_t x, int32_t attention, int32_t mlp, int64_t* saturated) {
  const int64_t sum = static_cast<int64_t>(x) + attention + mlp;
  const int32_t clamped = Clamp(sum, -kResidualMax, kResidualMax);
  *saturated += clamped != sum ? 1 : 0;
  return clamped;
}

// An embedding's element in steps of 2^-residual_shift (the factor is a power of two, so the product is exact).
PHIDIAS_INLINE int32_t EmbedElement(float value, int32_t residual_shift) {
  const float limit = static_cast<float>(kResidualMax);
  float scaled = value * static_cast<float>(1 << residual_shift);
  scaled = scaled > -limit ? scaled : -limit;
  scaled = scaled < limit ? scaled : limit;
  return RoundHalfEven(scaled);
}

// --- LayerNorm ---

// floor(sqrt(value)): one bit a step, 32 steps, exact.
PHIDIAS_INLINE uint32_t SquareRoot64(uint64_t value) {
  uint64_t rest = value;
  uint64_t root = 0;
  uint64_t bit = static_cast<uint64_t>(1) << 62;
  for (int i = 0; i < 32; ++i) {
    if (rest >= root + bit) {
      rest -= root + bit;
      root = (root >> 1) + bit;
    } else {
      root >>= 1;
    }
    bit >>= 2;
  }
  return static_cast<uint32_t>(root);
}

// 1 / sqrt(value) as multiplier * 2^-shift, multiplier in (2^30, 2^31], relative error below 2^-29. value >= 1.
PHIDIAS_INLINE FixedFactor InverseSquareRoot(uint64_t value) {
  int32_t half_shift = 0;
  for (int i = 0; i < 31; ++i) {
    if ((value >> 62) == 0) {
      value <<= 2;
      ++half_shift;
    }
  }
  // value * 4^half_shift is in [2^62, 2^64): its root has 32 bits, the first of them set.
  const uint64_t root = SquareRoot64(value);
  uint64_t inverse = (static_cast<uint64_t>(1) << 62) / root;  // in (2^30, 2^31]
  inverse = inverse > 0x7fffffffu ? 0x7fffffffu : inverse;
  return {static_cast<int32_t>(inverse), 62 - half_shift};
}

// Fraction bits of a normalised element d / sqrt(sum of squares), which lies in [-1, 1].
static constexpr int32_t kNormBits = 24;

// What LayerNorm finds in a row: the mean (rounded to a step) and 1 / sqrt(sum (x - mean)^2 + n * eps).
struct NormStatistics {
  int32_t mean;
  FixedFactor inverse_norm;
};

// sum = sum of x, over n elements; the mean is rounded half away from zero.
PHIDIAS_INLINE int32_t RowMean(int64_t sum, int32_t n) {
  const int64_t half = n / 2;
  return static_cast<int32_t>((sum >= 0 ? sum + half : sum - half) / n);
}

// gain: gamma * sqrt(n) / output scale in fixed point with its own shift; offset: beta / output scale + zero point with
// kNormOffsetBits fraction bits.
static constexpr int32_t kNormOffsetBits = 12;

// round(t * gain + offset) clamped to [low, high]; t = d * inverse_norm with kNormBits fraction bits.
PHIDIAS_INLINE int32_t NormElement(int32_t x, const NormStatistics& row, int32_t gain, int32_t gain_shift,
                                   int32_t offset, int32_t low, int32_t high) {
  const int64_t d = static_cast<int64_t>(x) - row.mean;                                // 26 bits
  const int64_t t = ShiftRightHalfEven(d * row.inverse_norm.multiplier,                // 57 bits
                                       row.inverse_norm.shift - kNormBits);            // 25 bits
  const int64_t product = ShiftRightHalfEven(t * gain, gain_shift - kNormOffsetBits);  // t 25 bits, gain 31: 56 bits
  return Clamp(ShiftRightHalfEven(product + offset, kNormOffsetBits), low, high);
}

// --- linear layers ---

// A linear layer's output on an integer grid: round((acc + bias) * factor) + zero_point, clamped. bias holds the
// layer's bias in units of the accumulator and the input's zero point (-z_x * sum_k q_w), so the zero point costs
// nothing at run time. factor = s_x * s_w[n] / output step. |acc + bias| < 2^31.
PHIDIAS_INLINE int32_t RequantizeAcc(int32_t acc, int32_t bias, FixedFactor factor, int32_t zero_point, int32_t low,
                                     int32_t high) {
  return Clamp(MultiplyFixed(static_cast<int64_t>(acc) + bias, factor) + zero_point, low, high);
}

// A logit: exact integer sum, one conversion, one multiplication. scale = s_x * s_w[n].
PHIDIAS_INLINE float Logit(int64_t acc, int64_t bias, float scale) {
  return static_cast<float>(acc + bias) * scale;
}

// An int16 as two int8 planes, value = 256 * high + low + 128: products of planes are int8 products.
PHIDIAS_INLINE int32_t HighPlane(int32_t value) {
  return value >> 8;
}
PHIDIAS_INLINE int32_t LowPlane(int32_t value) {
  return (value & 0xff) - 128;
}

// --- attention ---

// q, k (before rotation) are int16 with kRotaryGuardBits more bits than the int8 that they become: rotation can grow an
// element by sqrt(2), int16 leaves room for 2.
static constexpr int32_t kRotaryGuardBits = 7;
static constexpr int32_t kRotaryFractionBits = 14;  // of cos and sin, Q1.14

// One pair, rotated and rounded to int8.
PHIDIAS_INLINE void RotateS16(int32_t cos_value, int32_t sin_value, int32_t low, int32_t high, int32_t* low_out,
                              int32_t* high_out) {
  const int64_t a = static_cast<int64_t>(low) * cos_value - static_cast<int64_t>(high) * sin_value;
  const int64_t b = static_cast<int64_t>(high) * cos_value + static_cast<int64_t>(low) * sin_value;
  *low_out = Clamp(ShiftRightHalfEven(a, kRotaryFractionBits + kRotaryGuardBits), -127, 127);
  *high_out = Clamp(ShiftRightHalfEven(b, kRotaryFractionBits + kRotaryGuardBits), -127, 127);
}

// An element that isn't rotated.
PHIDIAS_INLINE int32_t NarrowS16(int32_t value) {
  return Clamp(ShiftRightHalfEven(value, kRotaryGuardBits), -127, 127);
}

// Probabilities are 2^-x with x >= 0 in steps of 1/256, as 12 bits: the largest is 4095.
static constexpr int32_t kExpFractionBits = 8;
static constexpr int32_t kExpTableSize = 1 << kExpFractionBits;
static constexpr int32_t kExpTableBits = 16;  // extra bits of a table entry over the 12 of a probability
static constexpr int32_t kProbabilityMax = 4095;
// Most positions of a context: 4095 * 128 * 4096 < 2^31.
static constexpr int32_t kMaxIntegerContext = 4096;

// The probability of a score that lies `difference` >= 0 below the largest. to_steps: scale_q * scale_k /
// sqrt(head_dim) * log2(e) * 256. exp_table[i] = round(4095 * 2^16 * 2^(-i/256)).
PHIDIAS_INLINE int32_t Probability(int32_t difference, FixedFactor to_steps, const int32_t* exp_table) {
  const int64_t steps = MultiplyFixed(difference, to_steps);
  const int64_t whole = steps >> kExpFractionBits;
  if (whole > 12) {
    return 0;  // 4095 * 2^-13 rounds to 0
  }
  const int32_t entry = exp_table[steps & (kExpTableSize - 1)];
  return static_cast<int32_t>(ShiftRightHalfEven(entry, kExpTableBits + static_cast<int32_t>(whole)));
}

// 1 / sum of probabilities: multiplier * 2^-shift, multiplier in [2^30, 2^31]. 1 <= sum < 2^25.
PHIDIAS_INLINE FixedFactor InverseSum(int32_t sum) {
  int32_t bits = 0;
  for (int i = 0; i < 25; ++i) {
    bits = (sum >> i) != 0 ? i : bits;
  }
  const uint64_t one = static_cast<uint64_t>(1) << (31 + bits);
  uint64_t inverse = one / static_cast<uint64_t>(sum);
  inverse = inverse > 0x7fffffffu ? 0x7fffffffu : inverse;
  return {static_cast<int32_t>(inverse), 31 + bits};
}

static constexpr int32_t kMeanBits = 16;  // fraction bits of a head's weighted mean of values

// acc / sum (the weighted mean of int8 values), then to the int8 grid of dense's input: round(mean * ratio) +
// zero_point, ratio = value scale / input scale.
PHIDIAS_INLINE int32_t AttentionElement(int32_t acc, FixedFactor inverse_sum, FixedFactor ratio, int32_t zero_point) {
  const int64_t mean = ShiftRightHalfEven(static_cast<int64_t>(acc) * inverse_sum.multiplier,
                                          inverse_sum.shift - kMeanBits);  // 24 bits
  const int64_t product = mean * ratio.multiplier;                         // 55 bits
  const int32_t shift = ratio.shift + kMeanBits;
  return Clamp((shift > 62 ? 0 : ShiftRightHalfEven(product, shift)) + zero_point, -128, 127);
}

}  // namespace numerics
}  // namespace phidias
