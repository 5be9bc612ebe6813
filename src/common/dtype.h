#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace phidias {

// Element types of stored tensors. kQ8_0 is GGUF's block type: 32 int8 with one f16 scale in front, 34 bytes. kI4 is
// compressed-tensors' packing of 4-bit weights: eight in a little-endian 32-bit word, the first in the lowest bits,
// each stored as q + 8; a row takes whole words.
enum class DType : uint8_t { kF32, kF16, kBF16, kF64, kI8, kU8, kI16, kI32, kI64, kBool, kQ8_0, kI4 };

inline constexpr int64_t kQ8BlockElements = 32;
inline constexpr int64_t kQ8BlockBytes = 34;

// safetensors' name of the type ("F32", "BF16", "I8"), GGUF's for kQ8_0, "I4".
std::string_view DTypeName(DType dtype);

// Bytes of `elements` elements (of one row for kI4). For kQ8_0, `elements` must be a multiple of 32.
int64_t DTypeBytes(DType dtype, int64_t elements);

}  // namespace phidias
