#pragma once

// The demo model with 4-bit linear layers, rounded here: what the back ends compute can be tested without a quantiser.

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "engine/loaded_model.h"
#include "numerics/int4.h"
#include "ref/decode_row.h"
#include "tests/support/quantized_demo.h"

namespace phidias::testing_support {

struct Int4Options {
  int64_t group = 32;
  int32_t largest_multiplier = numerics::kI4MultiplierMax;
  InputQuant::Kind input = InputQuant::Kind::kStatic;
};

inline std::vector<LinearWeights*> LayerLinears(Checkpoint& checkpoint) {
  std::vector<LinearWeights*> out;
  for (PhiLayerWeights& layer : checkpoint.weights.layers) {
    out.insert(out.end(), {&layer.q_proj, &layer.k_proj, &layer.v_proj, &layer.dense, &layer.fc1, &layer.fc2});
  }
  return out;
}

// Row n rounded to the nearest: the row's scale is that of its largest group over the largest multiplier.
inline void RoundRowInt4(const std::vector<float>& row, const Int4Options& options, int64_t n, LinearWeights* out,
                         std::byte* packed) {
  const auto k = static_cast<int64_t>(row.size());
  const auto absmax = [&](int64_t begin, int64_t end) {
    float most = 1e-6F;
    for (int64_t i = begin; i < end; ++i) {
      most = std::max(most, std::abs(row[static_cast<size_t>(i)]));
    }
    return most;
  };
  WeightQuant& quant = out->quant;
  const float scale = absmax(0, k) / 7.5F / static_cast<float>(options.largest_multiplier);
  quant.scale[static_cast<size_t>(n)] = scale;
  for (int64_t begin = 0; begin < k; begin += options.group) {
    const int64_t end = std::min(begin + options.group, k);
    const long rounded = std::lround(absmax(begin, end) / 7.5F / scale);
    const long multiplier = std::clamp(rounded, 1L, static_cast<long>(options.largest_multiplier));
    quant.multiplier[static_cast<size_t>(n * quant.Groups(k) + begin / options.group)] =
        static_cast<uint8_t>(multiplier);
    for (int64_t i = begin; i < end; ++i) {
      const float step = scale * static_cast<float>(multiplier);
      const long q = std::clamp(std::lround(row[static_cast<size_t>(i)] / step), -8L, 7L);
      packed[i / 2] |= static_cast<std::byte>((q + 8) << (4 * (i & 1)));
    }
  }
}

inline void RoundInt4(const WeightMatrix& from, const Int4Options& options, TensorStore* store, LinearWeights* out) {
  out->weight = {DType::kI4, nullptr, from.rows, from.cols};
  store->owned.push_back(
      std::make_shared<std::vector<std::byte>>(static_cast<size_t>(from.rows * out->weight.RowBytes())));
  std::byte* packed = store->owned.back()->data();
  out->weight.data = packed;
  out->quant = {.scale = std::vector<float>(static_cast<size_t>(from.rows)),
                .zero_point = {},
                .group = options.group,
                .multiplier = {}};
  out->quant.multiplier.resize(static_cast<size_t>(from.rows * out->quant.Groups(from.cols)));
  std::vector<float> row(static_cast<size_t>(from.cols));
  for (int64_t n = 0; n < from.rows; ++n) {
    ref::DecodeRow(from.dtype, from.Row(n), from.cols, row.data());
    RoundRowInt4(row, options, n, out, packed + n * out->weight.RowBytes());
  }
}

// Input scales and integer constants are those of the int8 demo model.
inline std::shared_ptr<const Checkpoint> Int4Demo(const Int4Options& options) {
  auto out = std::make_shared<Checkpoint>(*Quantized(LmHead::kFloat));
  Result<Checkpoint> original = OpenCheckpoint(kRoot + "/models/demo");
  EXPECT_TRUE(original.ok()) << original.status().message();
  const std::vector<LinearWeights*> from = LayerLinears(*original);
  const std::vector<LinearWeights*> to = LayerLinears(*out);
  for (size_t i = 0; i < to.size(); ++i) {
    RoundInt4(from[i]->weight, options, &out->store, to[i]);
    to[i]->input.kind = options.input;
  }
  return out;
}

}  // namespace phidias::testing_support
