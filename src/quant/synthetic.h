#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/thread_pool.h"
#include "model/config.h"
#include "quant/output_tensors.h"
#include "quant/shard_writer.h"

namespace phidias {

// int8 and 4 bits: linear layers; embedding and lm_head stay f16.
enum class SyntheticType : uint8_t { kF16, kInt8, kInt4 };

struct SyntheticOptions {
  SyntheticType type = SyntheticType::kF16;
  int64_t group = 32;  // of 4 bits: inputs that share a scale, 32, 64 or 128
  uint64_t seed = 0;
  std::string tokenizer = {};  // a directory whose tokenizer's files are copied; empty: none
  bool force = false;          // replace an existing checkpoint
  ShardOptions shards = {};
};

struct WrittenSynthetic {
  int64_t parameters = 0;
  int64_t bytes = 0;  // of weights
  int64_t files = 0;
};

// "phi-2", "phi-1.5" or "phi-1": the numbers of the published config.json. kNotFound for another name.
Result<PhiConfig> PresetShape(std::string_view name);

// Writes a checkpoint of this shape with random weights, for measuring speed and memory where the real weights aren't
// at hand: normal with deviation 0.02, LayerNorms near the identity, so that activations stay finite and near what the
// static input scales were made for. int8 is compressed-tensors' `int-quantized` form with phidias_integer.json, as the
// quantiser writes it; 4 bits its `pack-quantized` form with phidias_int4.safetensors too. The values depend on seed
// and shape alone. A few megabytes at a time; the directory appears whole or not at all. Errors: it exists, too little
// room (looked at before anything is written), a tokenizer with more ids than the shape has rows, cancellation.
Result<WrittenSynthetic> WriteSynthetic(const PhiConfig& config, const std::string& path,
                                        const SyntheticOptions& options, ThreadPool* pool);

}  // namespace phidias
