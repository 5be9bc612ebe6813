#pragma once

#include <functional>
#include <string>

#include "common/status.h"
#include "model/files/tensor_store.h"

namespace phidias {

// Reads a `*.index.json` ({"metadata": ..., "weight_map": {tensor name: shard file name}}), opens each shard once with
// `read_shard` and merges them. Errors: no such JSON, a shard name that leaves the folder, a shard that is absent, a
// tensor that is not in the shard that the map names, a tensor that no map entry names.
Result<TensorStore> ReadShardIndex(const std::string& index_path,
                                   const std::function<Result<TensorStore>(const std::string& path)>& read_shard);

}  // namespace phidias
