#pragma once

#include "numerics/bits.h"

namespace phidias {
namespace numerics {

// Counter-based random numbers: draw = f(seed, stream, position), no state. A restart, a batch or a speculative step
// asks for the draw of a position and gets what one plain run gets.
//
// The function is Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011),
// key = seed, counter = (stream, position), low words first.
struct PhiloxBlock {
  uint32_t word[4];
};

PHIDIAS_INLINE PhiloxBlock Philox4x32(PhiloxBlock counter, uint32_t key0, uint32_t key1) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = static_cast<uint64_t>(0xD2511F53u) * counter.word[0];
    const uint64_t product1 = static_cast<uint64_t>(0xCD9E8D57u) * counter.word[2];
    const PhiloxBlock next = {
        {static_cast<uint32_t>(product1 >> 32) ^ counter.word[1] ^ key0, static_cast<uint32_t>(product1),
         static_cast<uint32_t>(product0 >> 32) ^ counter.word[3] ^ key1, static_cast<uint32_t>(product0)}};
    counter = next;
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return counter;
}

// 64 random bits for `position` of `stream`.
PHIDIAS_INLINE uint64_t RandomBits(uint64_t seed, uint64_t stream, uint64_t position) {
  const PhiloxBlock counter = {{static_cast<uint32_t>(stream), static_cast<uint32_t>(stream >> 32),
                                static_cast<uint32_t>(position), static_cast<uint32_t>(position >> 32)}};
  const PhiloxBlock block = Philox4x32(counter, static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32));
  return (static_cast<uint64_t>(block.word[1]) << 32) | block.word[0];
}

// The high 64 bits of a * b.
PHIDIAS_INLINE uint64_t MultiplyHigh(uint64_t a, uint64_t b) {
  const uint64_t a_low = a & 0xffffffffu;
  const uint64_t a_high = a >> 32;
  const uint64_t b_low = b & 0xffffffffu;
  const uint64_t b_high = b >> 32;
  const uint64_t middle = a_high * b_low + ((a_low * b_low) >> 32);
  const uint64_t middle2 = a_low * b_high + (middle & 0xffffffffu);
  return a_high * b_high + (middle >> 32) + (middle2 >> 32);
}

// A number in [0, bound) from 64 random bits; bound >= 1. The bias is below bound / 2^64.
PHIDIAS_INLINE uint64_t ScaleBits(uint64_t bits, uint64_t bound) {
  return MultiplyHigh(bits, bound);
}

}  // namespace numerics
}  // namespace phidias
