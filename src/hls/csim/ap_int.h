#pragma once

#include <cstdint>

// A small stand-in for Vitis's ap_int.h: what the kernels use of ap_uint, with the same names and meaning, for the C
// simulation. Never on Vitis's include path. C++14; widths are multiples of 8 bits.
template <int kWidth>
class ap_uint {  // NOLINT(readability-identifier-naming): Vitis's name
  static_assert(kWidth > 0 && kWidth % 8 == 0, "this stand-in holds whole bytes");

  // Bits lo..hi of a word: at most 64 of them.
  template <class Word>
  class Range {
   public:
    Range(Word& word, int hi, int lo) : word_(word), hi_(hi), lo_(lo) {}
    inline __attribute__((always_inline)) unsigned to_uint() const {
      return static_cast<unsigned>(word_.Get(hi_, lo_));
    }
    inline __attribute__((always_inline)) Range& operator=(uint64_t value) {
      word_.Set(hi_, lo_, value);
      return *this;
    }

   private:
    Word& word_;
    int hi_;
    int lo_;
  };

 public:
  // As in Vitis, a word without an initial value holds anything.
  ap_uint() = default;
  ap_uint(uint64_t value) {  // NOLINT(google-explicit-constructor): ap_uint's own
    for (int i = 0; i < kWidth / 8; ++i) {
      bytes_[i] = i < 8 ? static_cast<uint8_t>(value >> (8 * i)) : static_cast<uint8_t>(0);
    }
  }

  inline __attribute__((always_inline)) Range<ap_uint> range(int hi, int lo) { return Range<ap_uint>(*this, hi, lo); }
  inline __attribute__((always_inline)) Range<const ap_uint> range(int hi, int lo) const {
    return Range<const ap_uint>(*this, hi, lo);
  }

  bool operator==(const ap_uint& other) const { return __builtin_memcmp(bytes_, other.bytes_, sizeof bytes_) == 0; }
  bool operator!=(const ap_uint& other) const { return !(*this == other); }

 private:
  // Whole fields of 8, 16 or 32 bits are moves; the compiler sees which, as both ends are known multiples.
  inline __attribute__((always_inline)) uint64_t Get(int hi, int lo) const {
    const int bits = hi - lo + 1;
    if (bits == 32 && lo % 32 == 0) {
      uint32_t value = 0;
      __builtin_memcpy(&value, bytes_ + lo / 8, sizeof value);
      return value;
    }
    if (bits == 16 && lo % 16 == 0) {
      uint16_t value = 0;
      __builtin_memcpy(&value, bytes_ + lo / 8, sizeof value);
      return value;
    }
    if (bits == 8 && lo % 8 == 0) {
      return bytes_[lo / 8];
    }
    uint64_t value = 0;
    for (int i = 0; i < bits; ++i) {
      value |= static_cast<uint64_t>((bytes_[(lo + i) / 8] >> ((lo + i) % 8)) & 1) << i;
    }
    return value;
  }

  inline __attribute__((always_inline)) void Set(int hi, int lo, uint64_t value) {
    const int bits = hi - lo + 1;
    if (bits == 32 && lo % 32 == 0) {
      const uint32_t field = static_cast<uint32_t>(value);
      __builtin_memcpy(bytes_ + lo / 8, &field, sizeof field);
      return;
    }
    if (bits == 8 && lo % 8 == 0) {
      bytes_[lo / 8] = static_cast<uint8_t>(value);
      return;
    }
    for (int i = 0; i < bits; ++i) {
      const int at = lo + i;
      const int mask = 1 << (at % 8);
      bytes_[at / 8] =
          static_cast<uint8_t>(((value >> i) & 1) != 0 ? (bytes_[at / 8] | mask) : (bytes_[at / 8] & ~mask));
    }
  }

  alignas(kWidth % 512 == 0 ? 64 : 1) uint8_t bytes_[kWidth / 8];
};
