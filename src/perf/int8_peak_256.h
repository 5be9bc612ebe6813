#pragma once

#include <immintrin.h>

#include <cstdint>

namespace phidias {

// What the sets with 256-bit registers have in common (see int8_peak_loop.h).
struct Int8Peak256 {
  using Register = __m256i;
  static constexpr int kAccumulators = 12;  // at least latency times throughput; there are 16 registers

  static Register Fill(uint32_t value) { return _mm256_set1_epi32(static_cast<int>(value)); }
  static uint32_t Sum(Register acc) {
    uint32_t lanes[8];
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(lanes), acc);
    uint32_t sum = 0;
    for (const uint32_t lane : lanes) {
      sum += lane;
    }
    return sum;
  }
};

}  // namespace phidias
