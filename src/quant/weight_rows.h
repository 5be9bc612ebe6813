#pragma once

#include <atomic>
#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

#include "common/status.h"
#include "common/thread_pool.h"
#include "quant/weight_quantizer.h"

namespace phidias {

inline constexpr int64_t kWeightRowGrain = 16;  // rows that a thread takes at a time

// Index of the first NaN or infinity, or -1.
inline int64_t FindNotFinite(std::span<const float> row) {
  for (size_t k = 0; k < row.size(); ++k) {
    if (!std::isfinite(row[k])) {
      return static_cast<int64_t>(k);
    }
  }
  return -1;
}

inline Status NotFiniteError(const WeightSource& source, int64_t n, int64_t k, float value) {
  return DataError("tensor ", Quoted(source.name), ": element [", n, ", ", k, "] is ", value,
                   "; a weight has to be finite to be quantised (the checkpoint is damaged, or its training diverged)");
}

// Runs fn(row index, row, thread) over all rows; stops caring after the first that isn't finite and tells of the first
// such row in order.
template <class Fn>
Status ForWeightRows(const WeightSource& source, ThreadPool* pool, Fn fn) {
  const auto k = static_cast<size_t>(source.matrix.cols);
  const auto threads = static_cast<size_t>(pool->size());
  std::vector<std::vector<float>> rows(threads, std::vector<float>(k));
  std::atomic<int64_t> bad{source.matrix.rows};
  pool->ParallelFor(source.matrix.rows, kWeightRowGrain, [&](int64_t begin, int64_t end, int thread) {
    std::vector<float>& row = rows[static_cast<size_t>(thread)];
    for (int64_t n = begin; n < end; ++n) {
      source.Row(n, row.data());
      if (FindNotFinite(row) >= 0) {
        int64_t seen = bad.load();
        while (n < seen && !bad.compare_exchange_weak(seen, n)) {
        }
        return;
      }
      fn(n, std::span<float>(row), thread);
    }
  });
  if (const int64_t n = bad.load(); n < source.matrix.rows) {
    source.Row(n, rows[0].data());
    const int64_t at = FindNotFinite(rows[0]);
    return NotFiniteError(source, n, at, rows[0][static_cast<size_t>(at)]);
  }
  return {};
}

}  // namespace phidias
