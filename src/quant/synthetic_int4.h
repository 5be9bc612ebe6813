#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "backend/weights.h"
#include "common/status.h"
#include "quant/random_weights.h"

namespace phidias {

// 4-bit layers of a synthetic checkpoint: normal weights whose steps, as a quantiser leaves them, differ a little from
// group to group.

// Two weights a draw of 16 bits, as kI4 stores them: each from 8 bits of it, normal.
std::vector<uint8_t> RandomInt4Bytes();

// Row scales and multipliers with which they have this deviation.
WeightQuant RandomInt4Quant(RandomStream random, int64_t rows, int64_t cols, int64_t group, float deviation);

// compressed-tensors' `weight_scale`: row scale times multiplier.
std::vector<float> Int4GroupScales(const WeightQuant& quant);

struct Int4Layer {
  std::string name;  // "model.layers.0.mlp.fc1"
  WeightQuant quant;
};

// phidias_int4.safetensors: NAME.row_scale F32 [N] and NAME.group_multiplier U8 [N, groups] of every layer.
Status WriteInt4Layers(const std::string& path, const std::vector<Int4Layer>& layers);

}  // namespace phidias
