#include "quant/synthetic_int4.h"

#include <algorithm>
#include <span>

#include "numerics/int4.h"
#include "numerics/quantize.h"
#include "numerics/rounding.h"

namespace phidias {
namespace {

constexpr float kTop = 3.0F;                // deviations that the largest weight of a group stands for
constexpr float kMiddleMultiplier = 48.0F;  // of a group, and its deviation
constexpr float kMultiplierDeviation = 5.0F;

// The quantile of an 8-bit draw, from the middle of those of 16 bits that begin with it.
float QuantileOf(const std::vector<float>& normal, size_t draw) {
  return normal[draw * 256 + 128];
}

uint8_t RandomMultiplier(float z) {
  const int32_t multiplier = numerics::RoundHalfEven(kMiddleMultiplier + kMultiplierDeviation * z);
  return static_cast<uint8_t>(std::clamp(multiplier, 1, numerics::kI4MultiplierMax));
}

}  // namespace

std::vector<uint8_t> RandomInt4Bytes() {
  const std::vector<float> normal = NormalQuantiles();
  std::vector<uint8_t> half(256);
  for (size_t i = 0; i < half.size(); ++i) {
    const int32_t q = numerics::RoundHalfEven(QuantileOf(normal, i) * (7.5F / kTop));
    half[i] = static_cast<uint8_t>(std::clamp(q, numerics::kI4Min, numerics::kI4Max) + numerics::kI4Offset);
  }
  std::vector<uint8_t> bytes(static_cast<size_t>(kDrawValues));
  for (size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<uint8_t>(half[i % 256] | half[i / 256] << 4);
  }
  return bytes;
}

WeightQuant RandomInt4Quant(RandomStream random, int64_t rows, int64_t cols, int64_t group, float deviation) {
  const std::vector<float> normal = NormalQuantiles();
  std::vector<uint8_t> multipliers(normal.size());
  std::transform(normal.begin(), normal.end(), multipliers.begin(), RandomMultiplier);
  WeightQuant quant;
  quant.group = group;
  quant.scale.resize(static_cast<size_t>(rows));
  FillFromTable(random, 0, normal.data(), std::span(quant.scale));
  for (float& scale : quant.scale) {
    scale = deviation * kTop / 7.5F / kMiddleMultiplier * (1.0F + 0.1F * scale);
  }
  quant.multiplier.resize(static_cast<size_t>(rows * quant.Groups(cols)));
  const int64_t begin = (rows + kDrawsPerBlock - 1) / kDrawsPerBlock * kDrawsPerBlock;  // behind the scales' draws
  FillFromTable(random, begin, multipliers.data(), std::span(quant.multiplier));
  return quant;
}

}  // namespace phidias
