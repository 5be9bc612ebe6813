#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace phidias {

// Element types of stored tensors. kQ8_0 is GGUF's block type: 32 int8 with one f16 scale in front, 34 bytes.
enum class DType : uint8_t { kF32, kF16, kBF16, kF64, kI8, kU8, kI16, kI32, kI64, kBool, kQ8_0 };

inline constexpr int64_t kQ8BlockElements = 32;
inline constexpr int64_t kQ8BlockBytes = 34;

// safetensors' name of the type ("F32", "BF16", "I8"), or GGUF's for kQ8_0.
std::string_view DTypeName(DType dtype);

// Bytes of `elements` elements. For kQ8_0, `elements` must be a multiple of 32.
int64_t DTypeBytes(DType dtype, int64_t elements);

}  // namespace phidias
