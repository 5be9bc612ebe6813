#pragma once

#include <cstddef>
#include <map>
#include <span>
#include <string>

#include "common/status.h"
#include "model/files/tensor_store.h"

namespace phidias {

// The format's own limit on the JSON header.
inline constexpr size_t kMaxSafetensorsHeader = 100'000'000;

// Reads one safetensors file: https://github.com/huggingface/safetensors (8-byte little-endian header length, JSON
// header, data). The file stays mapped; nothing is copied. Refused with the reason: a header that is truncated, over
// 100 MB, no JSON object, or lies about offsets (out of the file, overlapping, size differing from dtype x shape, data
// that no tensor owns), duplicate names, unknown dtypes. `metadata`, if given, receives the file's `__metadata__`.
Result<TensorStore> ReadSafetensors(const std::string& path, std::map<std::string, std::string>* metadata = nullptr);

// The same over a file's bytes in memory, which must outlive the store; `path` names them in messages.
Result<TensorStore> ParseSafetensors(std::span<const std::byte> bytes, const std::string& path,
                                     std::map<std::string, std::string>* metadata = nullptr);

// Reads `index_path` (model.safetensors.index.json) and all shards that it names, which must lie in the same folder.
// Every tensor must be in the shard that the index says, and the shards may hold no tensor that the index doesn't know.
Result<TensorStore> ReadSafetensorsIndex(const std::string& index_path);

}  // namespace phidias
