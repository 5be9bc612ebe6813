#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "backend/backend.h"
#include "backend/weights.h"
#include "numerics/random.h"

namespace phidias {

// Tells whether a file was made from the same things: a 64-bit hash against mix-ups, not against malice.
class Fingerprint {
 public:
  void Add(int64_t value) { state_ = Mix(state_ ^ static_cast<uint64_t>(value)); }
  void Add(std::span<const std::byte> bytes) {
    Add(static_cast<int64_t>(bytes.size()));
    while (!bytes.empty()) {
      uint64_t word = 0;
      const size_t take = bytes.size() < sizeof word ? bytes.size() : sizeof word;
      std::memcpy(&word, bytes.data(), take);
      state_ = Mix(state_ ^ word);
      bytes = bytes.subspan(take);
    }
  }
  void Add(std::string_view text) { Add(std::as_bytes(std::span(text.data(), text.size()))); }

  uint64_t value() const { return state_; }
  std::string Hex() const {
    constexpr const char* kDigits = "0123456789abcdef";
    std::string text;
    for (int shift = 60; shift >= 0; shift -= 4) {
      text += kDigits[state_ >> shift & 15];
    }
    return text;
  }

 private:
  // A multiplication whose halves are folded: every input bit reaches every output bit after two of them.
  static uint64_t Mix(uint64_t x) {
    constexpr uint64_t kOdd = 0x9E3779B97F4A7C15u;
    x += kOdd;
    return numerics::MultiplyHigh(x, kOdd) ^ x * kOdd;
  }

  uint64_t state_ = 0;
};

// Every number of the shape.
void AddShape(const ModelShape& shape, Fingerprint* fingerprint);
// Samples of the bytes: all of a small range, pieces of a large one.
void AddSamples(std::span<const std::byte> bytes, Fingerprint* fingerprint);
// Samples of everything that a layer's results depend on.
void AddWeights(const WeightMatrix& weight, Fingerprint* fingerprint);
void AddWeights(const LinearWeights& linear, Fingerprint* fingerprint);
void AddWeights(const LayerNormWeights& norm, Fingerprint* fingerprint);

}  // namespace phidias
