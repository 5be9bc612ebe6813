#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "common/dtype.h"

namespace phidias {

// A type of GGUF that is read by turning it into one that runs here, block by block.
//   Q4_0  becomes Q8_0, exactly: the same scale with four more bits
//   Q4_1  becomes F16: scale * q + minimum, rounded to 11 bits
//   Q6_K  becomes F16 likewise (what files that call themselves Q4_0 or Q4_1 hold lm_head in)
struct GgmlBlockType {
  uint32_t id;       // of ggml
  const char* name;  // "Q4_0"
  int64_t elements;  // of a block
  int64_t bytes;     // of a block as stored
  DType dtype;       // that it becomes
};

// The type with ggml's number `id`, or nullptr: it isn't one of these.
const GgmlBlockType* FindGgmlBlockType(uint32_t id);

// What rounding moved, over all elements.
struct DecodeLoss {
  double signal = 0;  // sum of squares
  double noise = 0;
};

// Whole blocks as DTypeBytes(type.dtype, elements) bytes.
std::vector<std::byte> DecodeGgmlBlocks(const GgmlBlockType& type, std::span<const std::byte> blocks, DecodeLoss* loss);

}  // namespace phidias
