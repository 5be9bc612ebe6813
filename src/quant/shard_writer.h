#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <vector>

#include "quant/output_dir.h"
#include "quant/output_tensors.h"

namespace phidias {

struct ShardOptions {
  int64_t shard_bytes = 4'500'000'000;                             // more than this becomes several files
  std::function<void(int64_t done, int64_t total)> progress = {};  // bytes of weights
  const std::atomic<bool>* cancel = nullptr;
};

// Writes the tensors into the directory: model.safetensors, or model-0000x-of-0000y.safetensors with their index.
// Returns the number of files. Errors: no space, cancellation, those of the tensors themselves.
Result<int64_t> WriteShards(const OutputDir& dir, const std::vector<OutputTensor>& tensors,
                            const ShardOptions& options);

}  // namespace phidias
