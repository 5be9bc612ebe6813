#include "backend/cpu/integer_attention.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "backend/cpu/attention_s8.h"
#include "backend/cpu/integer_kv_store.h"
#include "backend/cpu/parallel.h"
#include "ref/integer_ops.h"

namespace phidias::cpu {

IntegerAttentionRunner::IntegerAttentionRunner(const ModelShape& shape, const IntegerKernels& kernels, int threads)
    : shape_(shape),
      kernels_(kernels),
      group_(shape.n_heads / shape.n_kv_heads),
      scratch_(static_cast<size_t>(threads)) {}

Result<std::unique_ptr<KvStore>> IntegerAttentionRunner::Allocate(int64_t positions) const {
  try {
    return std::unique_ptr<KvStore>(std::make_unique<IntegerKvStore>(shape_, positions));
  } catch (const std::bad_alloc&) {
    return ResourceExhausted("no memory for an int8 KV cache of ", positions, " positions; use a smaller context (-c)");
  }
}

// Rotates row m's q of one KV head, and writes its rotated k and its v into the store. `key` is working space [KeyDim],
// zero behind the head.
void IntegerAttentionRunner::Append(const IntegerModel& model, int64_t layer, const StepRow& row, int64_t m,
                                    int64_t kv_head, const IntegerAttentionActivations& x, int8_t* key) {
  auto& kv = static_cast<IntegerKvStore&>(*row.kv);
  const int64_t half = shape_.rotary_dim / 2;
  const int64_t dim = shape_.head_dim;
  const int16_t* cos_row = model.cos.data() + row.pos * half;
  const int16_t* sin_row = model.sin.data() + row.pos * half;
  for (int64_t h = kv_head * group_; h < (kv_head + 1) * group_; ++h) {
    const int64_t at = (m * shape_.n_heads + h) * dim;
    kernels_.rotary(cos_row, sin_row, shape_.rotary_dim, dim, x.q + at, rotated_q_.data() + at);
  }
  const int64_t at = (m * shape_.n_kv_heads + kv_head) * dim;
  kernels_.rotary(cos_row, sin_row, shape_.rotary_dim, dim, x.k + at, key);
  int8_t* keys = kv.Keys(layer, kv_head);
  int8_t* values = kv.Values(layer, kv_head);
  for (int64_t d = 0; d < dim; d += 4) {
    std::memcpy(keys + KeyIndex(row.pos, d, dim), key + d, 4);
  }
  for (int64_t d = 0; d < dim; ++d) {
    values[ValueIndex(row.pos, d, dim)] = x.v[at + d];
  }
}

void IntegerAttentionRunner::Prepare(const IntegerModel& model, std::span<const StepRow> rows) {
  if (probability_table_.empty()) {
    probability_table_.resize(static_cast<size_t>(kProbabilitySteps + 1));
    MakeProbabilityTable(model.exp_table, probability_table_.data());
  }
  FindRowRanges(rows, std::max<int64_t>(1, kAttentionRowsS8 / group_), &ranges_);
  rotated_q_.resize(std::max(rotated_q_.size(), rows.size() * static_cast<size_t>(shape_.n_heads * shape_.head_dim)));
  const auto integers = static_cast<size_t>(AttentionS8Scratch(LongestContext(rows), shape_.head_dim));
  for (Scratch& scratch : scratch_) {
    scratch.attention.resize(std::max(scratch.attention.size(), integers));
    scratch.key.resize(static_cast<size_t>(KeyDim(shape_.head_dim)));
    scratch.constants.resize(static_cast<size_t>(group_));
    scratch.rows.reserve(static_cast<size_t>(std::max(kAttentionRowsS8, group_)));
  }
}

void IntegerAttentionRunner::Attend(const IntegerModel& model, int64_t layer, std::span<const StepRow> rows,
                                    const RowRange& range, int64_t kv_head, const IntegerAttentionActivations& x,
                                    Scratch& scratch) {
  auto& kv = static_cast<IntegerKvStore&>(*rows[range.begin].kv);
  const IntegerAttention& attention = model.layers[static_cast<size_t>(layer)].attention;
  for (int64_t i = 0; i < group_; ++i) {
    scratch.constants[i] = {.to_steps = attention.to_steps[kv_head * group_ + i],
                            .ratio = attention.ratio[kv_head],
                            .zero_point = attention.zero_point,
                            .exp_table = model.exp_table};
  }
  scratch.rows.clear();
  for (int64_t m = range.begin; m < range.end; ++m) {
    for (int64_t i = 0; i < group_; ++i) {
      const int64_t at = (m * shape_.n_heads + kv_head * group_ + i) * shape_.head_dim;
      scratch.rows.push_back({.q = rotated_q_.data() + at,
                              .count = rows[m].pos + 1,
                              .constants = &scratch.constants[i],
                              .out = x.out + at});
    }
  }
  kernels_.attention({.rows = scratch.rows.data(),
                      .row_count = static_cast<int64_t>(scratch.rows.size()),
                      .keys = kv.Keys(layer, kv_head),
                      .values = kv.Values(layer, kv_head),
                      .head_dim = shape_.head_dim,
                      .probability_table = probability_table_.data(),
                      .scratch = scratch.attention.data()});
}

void IntegerAttentionRunner::Run(const IntegerModel& model, int64_t layer, std::span<const StepRow> rows,
                                 const IntegerAttentionActivations& x, ThreadPool& pool) {
  Prepare(model, rows);
  const int64_t heads = shape_.n_kv_heads;
  const int64_t row_heads = static_cast<int64_t>(rows.size()) * heads;
  ParallelFor(pool, row_heads, AppendGrain(heads, pool.size()), [&](int64_t begin, int64_t end, int thread) {
    for (int64_t i = begin; i < end; ++i) {
      int8_t* key = scratch_[static_cast<size_t>(thread)].key.data();
      Append(model, layer, rows[i / heads], i / heads, i % heads, x, key);
    }
  });
  const auto items = static_cast<int64_t>(ranges_.size()) * shape_.n_kv_heads;
  ParallelFor(pool, items, 1, [&](int64_t begin, int64_t end, int thread) {
    for (int64_t i = begin; i < end; ++i) {
      Attend(model, layer, rows, ranges_[i / shape_.n_kv_heads], i % shape_.n_kv_heads, x,
             scratch_[static_cast<size_t>(thread)]);
    }
  });
}

}  // namespace phidias::cpu
