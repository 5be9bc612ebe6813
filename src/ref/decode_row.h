#pragma once

#include <cstddef>
#include <cstdint>

#include "common/dtype.h"

namespace phidias::ref {

// `count` stored elements (kF32, kF16, kBF16, kQ8_0) at any address as float32. Exact for the float types; a Q8_0
// element is int8 * scale, one rounding. Subnormal floats become zero. For kQ8_0, count is a multiple of 32.
void DecodeRow(DType dtype, const std::byte* data, int64_t count, float* out);

}  // namespace phidias::ref
