#pragma once

#include "numerics/bits.h"

namespace phidias {
namespace numerics {

// Rotary tables, made once on the host in float64 from +, -, *, / alone, so that no library's sin, cos or pow decides
// their bits, and rounded to float32 (or Q1.14). Not for synthesis: a kernel gets the table.
//
// The angles are those of Hugging Face's PhiRotaryEmbedding, float32 in each step: inv_freq = 1 / theta^(2i /
// rotary_dim), angle = pos * inv_freq. Taking the angles exactly instead would move the model by up to 1e-4 at position
// 2000 away from the arithmetic that it was trained and is evaluated with.

// ln(x) for normal x > 0, relative error below 1e-15.
inline double LogDouble(double x) {
  int exponent = 0;
  while (x > 1.4142135623730951) {
    x *= 0.5;
    ++exponent;
  }
  while (x < 0.7071067811865476) {
    x *= 2.0;
    --exponent;
  }
  // ln x = 2 artanh(s), s = (x - 1) / (x + 1), |s| <= 0.172: s^23 / 23 is below 1e-18.
  const double s = (x - 1.0) / (x + 1.0);
  double sum = 0.0;
  for (int k = 23; k >= 1; k -= 2) {
    sum = sum * (s * s) + 1.0 / k;
  }
  return exponent * 0.6931471805599453 + 2.0 * s * sum;
}

// e^x for |x| <= 700, relative error below 1e-14.
inline double ExpDouble(double x) {
  const double n = static_cast<double>(static_cast<int32_t>(x * 1.4426950408889634 + (x < 0 ? -0.5 : 0.5)));
  const double r = (x - n * 0.693147180369123816490) - n * 1.90821492927058770002e-10;
  double sum = 1.0;
  for (int k = 16; k >= 1; --k) {
    sum = 1.0 + sum * r / k;
  }
  for (int32_t i = 0; i < static_cast<int32_t>(n); ++i) {
    sum *= 2.0;
  }
  for (int32_t i = 0; i > static_cast<int32_t>(n); --i) {
    sum *= 0.5;
  }
  return sum;
}

struct SinCos {
  double sin;
  double cos;
};

// 0 <= x < 2^21; absolute error below 1e-15 (Cody-Waite reduction by pi/2 in two parts, the first of 33 bits).
inline SinCos SinCosDouble(double x) {
  const int64_t quadrant = static_cast<int64_t>(x * 0.63661977236758134308 + 0.5);
  const double n = static_cast<double>(quadrant);
  const double r = (x - n * 1.57079632673412561417) - n * 6.07710050650619224932e-11;
  double sin_sum = 1.0;
  double cos_sum = 1.0;
  for (int k = 10; k >= 1; --k) {
    sin_sum = 1.0 - sin_sum * (r * r) / ((2.0 * k) * (2.0 * k + 1.0));
    cos_sum = 1.0 - cos_sum * (r * r) / ((2.0 * k - 1.0) * (2.0 * k));
  }
  const double s = r * sin_sum;
  switch (quadrant & 3) {
    case 0: return {s, cos_sum};
    case 1: return {cos_sum, -s};
    case 2: return {-s, -cos_sum};
    default: return {-cos_sum, s};
  }
}

// inv_freq of pair i (0 <= i < rotary_dim / 2), in float32 as transformers computes it.
inline float RotaryInverseFrequency(int32_t i, int32_t rotary_dim, double theta) {
  const float exponent = static_cast<float>(2 * i) / static_cast<float>(rotary_dim);
  const float power = static_cast<float>(ExpDouble(static_cast<double>(exponent) * LogDouble(theta)));
  return 1.0f / power;
}

// cos and sin of position `pos` and a pair with `inv_freq`.
inline void RotaryEntry(int32_t pos, float inv_freq, float* cos_out, float* sin_out) {
  const float angle = static_cast<float>(pos) * inv_freq;
  const SinCos value = SinCosDouble(static_cast<double>(angle));
  *cos_out = static_cast<float>(value.cos);
  *sin_out = static_cast<float>(value.sin);
}

// One pair of a head's rotated part: dimension i (`low`) with dimension i + rotary_dim / 2 (`high`), NeoX style.
PHIDIAS_INLINE void Rotate(float cos_value, float sin_value, float* low, float* high) {
  const float a = *low;
  const float b = *high;
  *low = a * cos_value - b * sin_value;
  *high = b * cos_value + a * sin_value;
}

}  // namespace numerics
}  // namespace phidias
