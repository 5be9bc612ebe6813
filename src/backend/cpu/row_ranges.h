#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "backend/backend.h"

namespace phidias::cpu {

// Step rows [begin, end) of one sequence.
struct RowRange {
  int64_t begin = 0;
  int64_t end = 0;
};

// Neighbouring rows of one sequence, up to `most` together. Long contexts first, so that the last range that a thread
// takes is a short one.
inline void FindRowRanges(std::span<const StepRow> rows, int64_t most, std::vector<RowRange>* ranges) {
  ranges->clear();
  for (int64_t m = 0; m < static_cast<int64_t>(rows.size()); ++m) {
    if (!ranges->empty() && rows[ranges->back().begin].kv == rows[m].kv && m - ranges->back().begin < most) {
      ranges->back().end = m + 1;
    } else {
      ranges->push_back({m, m + 1});
    }
  }
  std::sort(ranges->begin(), ranges->end(),
            [&](const RowRange& a, const RowRange& b) { return rows[a.end - 1].pos > rows[b.end - 1].pos; });
}

// KV heads that a thread appends to the caches at a time: a single row's are shared out too, since each lies on lines
// of memory that no cache holds.
inline int64_t AppendGrain(int64_t kv_heads, int threads) {
  return (kv_heads + threads - 1) / threads;
}

// The most positions that a row attends to.
inline int64_t LongestContext(std::span<const StepRow> rows) {
  int64_t longest = 0;
  for (const StepRow& row : rows) {
    longest = std::max<int64_t>(longest, row.pos + 1);
  }
  return longest;
}

}  // namespace phidias::cpu
