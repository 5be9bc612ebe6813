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

// out[i] = decode(i), subnormals flushed. One loop per type, so that none has to choose for each element.
template <class Decode>
void ForElements(int64_t count, float* out, Decode decode) {
  for (int64_t i = 0; i < count; ++i) {
    out[i] = numerics::FlushSubnormal(decode(i));
  }
}

}  // namespace

void DecodeRow(DType dtype, const std::byte* data, int64_t count, float* out) {
  switch (dtype) {
    case DType::kF32: ForElements(count, out, [&](int64_t i) { return LoadUnaligned<float>(data + 4 * i); }); break;
    case DType::kF16:
      ForElements(count, out, [&](int64_t i) { return numerics::HalfToFloat(LoadUnaligned<uint16_t>(data + 2 * i)); });
      break;
    case DType::kBF16:
      ForElements(count, out,
                  [&](int64_t i) { return numerics::Bfloat16ToFloat(LoadUnaligned<uint16_t>(data + 2 * i)); });
      break;
    case DType::kQ8_0:
      ForElements(count, out, [&](int64_t i) {
        const std::byte* block = data + i / kQ8BlockElements * kQ8BlockBytes;
        const float scale = numerics::HalfToFloat(LoadUnaligned<uint16_t>(block));
        return static_cast<float>(LoadUnaligned<int8_t>(block + 2 + i % kQ8BlockElements)) * scale;
      });
      break;
    default: ForElements(count, out, [](int64_t) { return 0.0F; }); break;
  }
}

}  // namespace phidias::ref
