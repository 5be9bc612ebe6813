#include "quant/synthetic_int4.h"

#include <algorithm>
#include <span>

#include "model/files/safetensors_writer.h"
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

std::vector<float> Int4GroupScales(const WeightQuant& quant) {
  const size_t groups = quant.multiplier.size() / quant.scale.size();
  std::vector<float> scales(quant.multiplier.size());
  for (size_t i = 0; i < scales.size(); ++i) {
    scales[i] = quant.scale[i / groups] * static_cast<float>(quant.multiplier[i]);
  }
  return scales;
}

Status WriteInt4Layers(const std::string& path, const std::vector<Int4Layer>& layers) {
  std::vector<SafetensorsEntry> entries;
  for (const Int4Layer& layer : layers) {
    entries.push_back({layer.name + ".row_scale", DType::kF32, {static_cast<int64_t>(layer.quant.scale.size())}});
  }
  for (const Int4Layer& layer : layers) {
    const auto rows = static_cast<int64_t>(layer.quant.scale.size());
    const auto groups = static_cast<int64_t>(layer.quant.multiplier.size()) / rows;
    entries.push_back({layer.name + ".group_multiplier", DType::kU8, {rows, groups}});
  }
  ASSIGN_OR_RETURN(SafetensorsWriter file,
                   SafetensorsWriter::Create(path, entries, {{"format", "phidias-int4"}, {"version", "1"}}));
  for (const Int4Layer& layer : layers) {
    RETURN_IF_ERROR(file.Append(std::as_bytes(std::span(layer.quant.scale))));
  }
  for (const Int4Layer& layer : layers) {
    RETURN_IF_ERROR(file.Append(std::as_bytes(std::span(layer.quant.multiplier))));
  }
  return file.Finish();
}

}  // namespace phidias
