#include "ref/decode_row.h"

#include <cstring>

#include "numerics/half.h"

namespace phidias::ref {
namespace {

template <class T>
T LoadUnaligned(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

}  // namespace

void DecodeRow(DType dtype, const std::byte* data, int64_t count, float* out) {
  for (int64_t i = 0; i < count; ++i) {
    float value = 0.0F;
    switch (dtype) {
      case DType::kF32: value = LoadUnaligned<float>(data + 4 * i); break;
      case DType::kF16: value = numerics::HalfToFloat(LoadUnaligned<uint16_t>(data + 2 * i)); break;
      case DType::kBF16: value = numerics::Bfloat16ToFloat(LoadUnaligned<uint16_t>(data + 2 * i)); break;
      case DType::kQ8_0: {
        const std::byte* block = data + i / kQ8BlockElements * kQ8BlockBytes;
        const float scale = numerics::HalfToFloat(LoadUnaligned<uint16_t>(block));
        const auto quant = LoadUnaligned<int8_t>(block + 2 + i % kQ8BlockElements);
        value = static_cast<float>(quant) * scale;
        break;
      }
      default: break;
    }
    out[i] = numerics::FlushSubnormal(value);
  }
}

}  // namespace phidias::ref
