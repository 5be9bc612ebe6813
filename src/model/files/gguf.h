#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "common/status.h"
#include "model/config.h"
#include "model/files/tensor_store.h"

namespace phidias {

// A metadata value. Integers of every width arrive as int64 (uint64 above 2^63 - 1 is refused), floats as double, an
// array of booleans as integers 0 and 1. Strings are the file's bytes, not necessarily UTF-8.
using GgufValue = std::variant<int64_t, double, bool, std::string, std::vector<int64_t>, std::vector<double>,
                               std::vector<std::string>>;

struct GgufFile {
  std::string path;
  std::map<std::string, GgufValue> metadata;
  TensorStore store;                  // tensors by GGUF's names ("blk.0.attn_qkv.weight"); shapes outermost first
  std::vector<std::string> warnings;  // what decoding lost
};

// Reads GGUF version 2 or 3, little-endian: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Tensor types
// F32, F16, BF16 and Q8_0 stay in the file; Q4_0, Q4_1 and Q6_K are decoded into memory (files/gguf_blocks.h). Any
// other type is an error that names tensor and type and says what to use instead.
Result<GgufFile> ReadGguf(const std::string& path);

// The same over a file's bytes in memory, which must outlive the result; `path` names them in messages.
Result<GgufFile> ParseGguf(std::span<const std::byte> bytes, const std::string& path);

// The configuration from `general.architecture` = "phi2" and its `phi2.*` keys.
Result<PhiConfig> GgufPhiConfig(const GgufFile& file);

}  // namespace phidias
