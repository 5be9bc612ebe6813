#include "backend/cpu/float_attention.h"

#include <algorithm>
#include <new>

#include "backend/cpu/attention.h"
#include "backend/cpu/float_kv_store.h"
#include "backend/cpu/parallel.h"
#include "common/str.h"
#include "numerics/elementary.h"

namespace phidias::cpu {

FloatAttention::FloatAttention(const ModelShape& shape, const Kernels& kernels, DType kv_dtype, int threads)
    : shape_(shape),
      kernels_(kernels),
      kv_dtype_(kv_dtype),
      group_(shape.n_heads / shape.n_kv_heads),
      scale_(1.0F / numerics::Sqrt(static_cast<float>(shape.head_dim))),
      rotary_(shape.max_positions, shape.rotary_dim, shape.rope_theta),
      scratch_(static_cast<size_t>(threads)),
      attention_rows_(static_cast<size_t>(threads)) {}

Result<std::unique_ptr<KvStore>> FloatAttention::Allocate(int64_t positions) const {
  try {
    return std::unique_ptr<KvStore>(std::make_unique<FloatKvStore>(shape_, kv_dtype_, positions));
  } catch (const std::bad_alloc&) {
    const int64_t bytes = 2 * shape_.n_layers * shape_.n_kv_heads * positions * DTypeBytes(kv_dtype_, shape_.head_dim);
    return ResourceExhausted("no memory for a KV cache of ", positions, " positions (",
                             HumanBytes(static_cast<uint64_t>(bytes)), "); use a smaller context (-c)",
                             kv_dtype_ == DType::kF32 ? " or --kv-cache f16" : "");
  }
}

// Rotates row m's q of one KV head in place, and writes its rotated k and its v into the store. `key` is working space
// [head_dim].
void FloatAttention::Append(int64_t layer, const StepRow& row, int64_t m, int64_t kv_head,
                            const AttentionActivations& x, float* key) const {
  auto& kv = static_cast<FloatKvStore&>(*row.kv);
  const float* cos_row = rotary_.Cos(row.pos);
  const float* sin_row = rotary_.Sin(row.pos);
  const int64_t dim = shape_.head_dim;
  const int64_t at = row.pos * DTypeBytes(kv_dtype_, dim);
  for (int64_t h = kv_head * group_; h < (kv_head + 1) * group_; ++h) {
    float* q = x.q + (m * shape_.n_heads + h) * dim;
    kernels_.rotary(cos_row, sin_row, shape_.rotary_dim, q);
  }
  const int64_t from = (m * shape_.n_kv_heads + kv_head) * dim;
  std::copy_n(x.k + from, dim, key);
  kernels_.rotary(cos_row, sin_row, shape_.rotary_dim, key);
  kernels_.store_row(kv_dtype_, key, dim, kv.Keys(layer, kv_head) + at);
  kernels_.store_row(kv_dtype_, x.v + from, dim, kv.Values(layer, kv_head) + at);
}

void FloatAttention::ResizeScratch(std::span<const StepRow> rows) {
  const int64_t queries = std::max(kAttentionRows, group_);
  const auto floats = static_cast<size_t>(AttentionScratch(queries, LongestContext(rows), shape_.head_dim));
  for (auto& scratch : scratch_) {
    scratch.resize(std::max(scratch.size(), floats));
  }
  for (auto& queries_of_thread : attention_rows_) {
    queries_of_thread.reserve(static_cast<size_t>(queries));
  }
}

void FloatAttention::Attend(int64_t layer, std::span<const StepRow> rows, const RowRange& range, int64_t kv_head,
                            const AttentionActivations& x, int thread) {
  auto& kv = static_cast<FloatKvStore&>(*rows[range.begin].kv);
  std::vector<AttentionRow>& queries = attention_rows_[static_cast<size_t>(thread)];
  queries.clear();
  for (int64_t m = range.begin; m < range.end; ++m) {
    for (int64_t h = kv_head * group_; h < (kv_head + 1) * group_; ++h) {
      const int64_t at = (m * shape_.n_heads + h) * shape_.head_dim;
      queries.push_back({.q = x.q + at, .count = rows[m].pos + 1, .out = x.out + at});
    }
  }
  kernels_.attention({.rows = queries.data(),
                      .row_count = static_cast<int64_t>(queries.size()),
                      .kv_dtype = kv_dtype_,
                      .keys = kv.Keys(layer, kv_head),
                      .values = kv.Values(layer, kv_head),
                      .head_dim = shape_.head_dim,
                      .scale = scale_,
                      .scratch = scratch_[static_cast<size_t>(thread)].data()});
}

void FloatAttention::Run(int64_t layer, std::span<const StepRow> rows, const AttentionActivations& x,
                         ThreadPool& pool) {
  FindRowRanges(rows, std::max<int64_t>(1, kAttentionRows / group_), &ranges_);
  ResizeScratch(rows);
  const int64_t heads = shape_.n_kv_heads;
  const int64_t row_heads = static_cast<int64_t>(rows.size()) * heads;
  ParallelFor(pool, row_heads, AppendGrain(heads, pool.size()), [&](int64_t begin, int64_t end, int thread) {
    for (int64_t i = begin; i < end; ++i) {
      Append(layer, rows[i / heads], i / heads, i % heads, x, scratch_[static_cast<size_t>(thread)].data());
    }
  });
  const auto items = static_cast<int64_t>(ranges_.size()) * shape_.n_kv_heads;
  ParallelFor(pool, items, 1, [&](int64_t begin, int64_t end, int thread) {
    for (int64_t i = begin; i < end; ++i) {
      Attend(layer, rows, ranges_[i / shape_.n_kv_heads], i % shape_.n_kv_heads, x, thread);
    }
  });
}

}  // namespace phidias::cpu
