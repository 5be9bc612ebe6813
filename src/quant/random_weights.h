#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "common/thread_pool.h"
#include "numerics/random.h"

namespace phidias {

// Numbers of one tensor that depend on the seed, the stream and their own position alone: a tensor has the same values
// whoever makes which part of it.
struct RandomStream {
  uint64_t seed = 0;
  uint64_t stream = 0;
};

inline constexpr int64_t kDrawsPerBlock = 8;  // 16 bits each of a Philox block's 128
inline constexpr int64_t kDrawValues = 65536;

// Quantiles of the standard normal distribution at (i + 0.5) / 65536, -4.3 to 4.3: a draw of 16 bits is an index. The
// same bits on every machine.
std::vector<float> NormalQuantiles();

// out[i] = table[draw of position begin + i]; `begin` is a multiple of kDrawsPerBlock, the table has kDrawValues
// entries.
template <class T>
void FillFromTable(RandomStream random, int64_t begin, const T* table, std::span<T> out) {
  const auto size = static_cast<int64_t>(out.size());
  for (int64_t i = 0; i < size; i += kDrawsPerBlock) {
    const auto position = static_cast<uint64_t>((begin + i) / kDrawsPerBlock);
    const numerics::PhiloxBlock counter = {{static_cast<uint32_t>(random.stream),
                                            static_cast<uint32_t>(random.stream >> 32), static_cast<uint32_t>(position),
                                            static_cast<uint32_t>(position >> 32)}};
    const numerics::PhiloxBlock block =
        numerics::Philox4x32(counter, static_cast<uint32_t>(random.seed), static_cast<uint32_t>(random.seed >> 32));
    const int64_t count = size - i < kDrawsPerBlock ? size - i : kDrawsPerBlock;
    for (int64_t j = 0; j < count; ++j) {
      out[static_cast<size_t>(i + j)] = table[(block.word[j / 2] >> (16 * (j % 2))) & 0xffffu];
    }
  }
}

// The same over all threads.
template <class T>
void FillFromTable(RandomStream random, int64_t begin, const T* table, std::span<T> out, ThreadPool* pool) {
  constexpr int64_t kGrain = 1 << 16;
  pool->ParallelFor(static_cast<int64_t>(out.size()), kGrain, [&](int64_t first, int64_t last, int /*thread*/) {
    FillFromTable(random, begin + first, table,
                  out.subspan(static_cast<size_t>(first), static_cast<size_t>(last - first)));
  });
}

}  // namespace phidias
