#pragma once

#include <ap_int.h>

#include <cstdint>
#include <cstring>
#include <vector>

#include "hls/design.h"
#include "hls/layout.h"
#include "numerics/bits.h"
#include "numerics/random.h"

// Buffers and data for the kernels' tests.
namespace phidias::hls::test {

using Word = ap_uint<kWordBits>;

// Device memory as a kernel gets it: whole words, dirty where nobody wrote.
class DeviceBuffer {
 public:
  explicit DeviceBuffer(int64_t bytes) : words_(static_cast<size_t>(CeilDiv(bytes, kWordBytes)), Dirty()) {}
  explicit DeviceBuffer(const std::vector<float>& values)
      : DeviceBuffer(VectorBytes(static_cast<int64_t>(values.size()))) {
    if (!values.empty()) {
      std::memcpy(static_cast<void*>(words_.data()), values.data(), values.size() * sizeof(float));
    }
  }

  Word* words() { return words_.data(); }
  template <class T>
  T* As() {
    return reinterpret_cast<T*>(words_.data());
  }
  std::vector<float> Floats(int64_t n, int64_t offset = 0) {
    const float* begin = As<float>() + offset;
    return {begin, begin + n};
  }

 private:
  static Word Dirty() {
    Word word;
    std::memset(static_cast<void*>(&word), 0xA5, sizeof word);
    return word;
  }

  std::vector<Word> words_;
};

// Equal bits, NaNs included: gtest prints the first difference of two such vectors.
inline std::vector<uint32_t> Bits(const std::vector<float>& values) {
  std::vector<uint32_t> bits(values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    bits[i] = numerics::BitsOf(values[i]);
  }
  return bits;
}

// Numbers in [-limit, limit), the same for the same seed.
inline std::vector<float> RandomFloats(int64_t n, uint64_t seed, float limit = 1.0F) {
  std::vector<float> values(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) {
    const auto draw = static_cast<int32_t>(numerics::RandomBits(seed, 0, static_cast<uint64_t>(i)) >> 40);  // 24 bits
    values[static_cast<size_t>(i)] = static_cast<float>(draw - (1 << 23)) / static_cast<float>(1 << 23) * limit;
  }
  return values;
}

inline std::vector<int8_t> RandomBytes(int64_t n, uint64_t seed) {
  std::vector<int8_t> values(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) {
    values[static_cast<size_t>(i)] =
        static_cast<int8_t>(numerics::RandomBits(seed, 1, static_cast<uint64_t>(i) / 8) >> (8 * (i % 8)));
  }
  return values;
}

}  // namespace phidias::hls::test
