#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "backend/cpu/parallel.h"

namespace phidias::cpu {

// Products that are computed together: each has an input, `columns` columns (rows of its weight) and k inputs a column.
struct ProductSize {
  int64_t columns = 0;
  int64_t k = 0;
};

// Columns [begin, end) of product `product`: what a thread takes at a time.
struct ColumnShare {
  int32_t product = 0;
  int64_t begin = 0;
  int64_t end = 0;
};

// Cuts products into shares of whole groups of columns (kGroupColumns), each a third of a thread's part of what is
// left: large ones first, which read memory in one stream, and at the end single groups, so that no thread waits long
// for the last one and one that is held up doesn't hold up the others.
void CutColumns(std::span<const ProductSize> products, int threads, std::vector<ColumnShare>* shares);

// fn(share, thread) for each of them, in order, by the pool's threads.
template <class Fn>
void ForShares(ThreadPool& pool, std::span<const ColumnShare> shares, Fn fn) {
  ParallelFor(pool, static_cast<int64_t>(shares.size()), 1, [&](int64_t begin, int64_t end, int thread) {
    for (int64_t i = begin; i < end; ++i) {
      fn(shares[static_cast<size_t>(i)], thread);
    }
  });
}

}  // namespace phidias::cpu
