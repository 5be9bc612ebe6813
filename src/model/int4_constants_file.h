#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "backend/weights.h"
#include "common/status.h"
#include "model/files/tensor_store.h"

namespace phidias {

// The file beside a checkpoint with 4-bit layers that holds what their `weight_scale` is the product of
// (docs/formats.md): NAME.row_scale F32 [N] and NAME.group_multiplier U8 [N, groups] for each of them.
inline constexpr const char* kInt4ConstantsFile = "phidias_int4.safetensors";
inline constexpr const char* kRowScaleSuffix = ".row_scale";
inline constexpr const char* kMultiplierSuffix = ".group_multiplier";

// A layer to be written; refers to somebody else's numbers.
struct Int4Constants {
  std::string name;  // "model.layers.0.mlp.fc1"
  const WeightQuant* quant = nullptr;
};

Status WriteInt4Constants(const std::string& path, const std::vector<Int4Constants>& layers);

// The tensors, as they are stored. Errors name the file: no such file, another format or version.
Result<TensorStore> ReadInt4Constants(const std::string& path);

}  // namespace phidias
