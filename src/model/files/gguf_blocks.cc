#include "model/files/gguf_blocks.h"

#include <algorithm>
#include <cstring>

#include "numerics/half.h"

namespace phidias {
namespace {

constexpr uint32_t kQ40 = 2;
constexpr uint32_t kQ41 = 3;
constexpr uint32_t kQ6K = 14;
constexpr int64_t kSmallBlock = 32;
constexpr int64_t kSuperBlock = 256;

constexpr GgmlBlockType kTypes[] = {{kQ40, "Q4_0", kSmallBlock, 18, DType::kQ8_0},
                                    {kQ41, "Q4_1", kSmallBlock, 20, DType::kF16},
                                    {kQ6K, "Q6_K", kSuperBlock, 210, DType::kF16}};

float LoadHalf(const std::byte* at) {
  uint16_t half = 0;
  std::memcpy(&half, at, sizeof half);
  return numerics::HalfToFloat(half);
}

// Element i of a block of 32: the first half of them in the low nibbles, the second in the high ones.
int32_t Nibble(const std::byte* nibbles, int64_t i) {
  const auto pair = std::to_integer<int32_t>(nibbles[i % 16]);
  return i < 16 ? pair & 15 : pair >> 4;
}

// f16 scale, 32 nibbles; x = scale * (q - 8).
void Q40ToQ80(const std::byte* block, std::byte* out) {
  std::memcpy(out, block, 2);
  for (int64_t i = 0; i < kSmallBlock; ++i) {
    out[2 + i] = static_cast<std::byte>(Nibble(block + 2, i) - 8);
  }
}

// f16 scale, f16 minimum, 32 nibbles; x = scale * q + minimum.
void DecodeQ41(const std::byte* block, float* out) {
  const float scale = LoadHalf(block);
  const float minimum = LoadHalf(block + 2);
  for (int64_t i = 0; i < kSmallBlock; ++i) {
    out[i] = scale * static_cast<float>(Nibble(block + 4, i)) + minimum;
  }
}

// For 256 elements: 128 bytes of low nibbles, 64 bytes with two high bits each four, 16 int8 scales, f16 scale of the
// scales; x = scale * scales[i / 16] * (q - 32). Each half of the block is four runs of 32: runs 0 and 1 have the low
// nibbles of the half's 64 bytes, 2 and 3 the high ones.
void DecodeQ6K(const std::byte* block, float* out) {
  const float scale = LoadHalf(block + 208);
  for (int64_t i = 0; i < kSuperBlock; ++i) {
    const int64_t half = i / 128;
    const int64_t run = i % 128 / 32;
    const int64_t l = i % 32;
    const auto low = std::to_integer<int32_t>(block[half * 64 + run % 2 * 32 + l]);
    const auto high = std::to_integer<int32_t>(block[128 + half * 32 + l]);
    const int32_t q = (run < 2 ? low & 15 : low >> 4) | (high >> (2 * run) & 3) << 4;
    int8_t step = 0;
    std::memcpy(&step, block + 192 + i / 16, 1);
    out[i] = scale * static_cast<float>(step) * static_cast<float>(q - 32);
  }
}

// Rounded to f16.
void StoreHalves(const float* values, int64_t count, std::byte* out, DecodeLoss* loss) {
  for (int64_t i = 0; i < count; ++i) {
    const uint16_t half = numerics::FloatToHalf(values[i]);
    std::memcpy(out + 2 * i, &half, sizeof half);
    const double value = values[i];
    const double lost = value - static_cast<double>(numerics::HalfToFloat(half));
    loss->signal += value * value;
    loss->noise += lost * lost;
  }
}

}  // namespace

const GgmlBlockType* FindGgmlBlockType(uint32_t id) {
  const auto* found =
      std::find_if(std::begin(kTypes), std::end(kTypes), [id](const GgmlBlockType& type) { return type.id == id; });
  return found == std::end(kTypes) ? nullptr : found;
}

std::vector<std::byte> DecodeGgmlBlocks(const GgmlBlockType& type, std::span<const std::byte> blocks,
                                        DecodeLoss* loss) {
  const int64_t count = static_cast<int64_t>(blocks.size()) / type.bytes;
  const int64_t out_bytes = DTypeBytes(type.dtype, type.elements);
  std::vector<std::byte> out(static_cast<size_t>(count * out_bytes));
  float values[kSuperBlock] = {};
  for (int64_t i = 0; i < count; ++i) {
    const std::byte* block = blocks.data() + i * type.bytes;
    std::byte* to = out.data() + i * out_bytes;
    if (type.id == kQ40) {
      Q40ToQ80(block, to);
    } else {
      type.id == kQ41 ? DecodeQ41(block, values) : DecodeQ6K(block, values);
      StoreHalves(values, type.elements, to, loss);
    }
  }
  return out;
}

}  // namespace phidias
