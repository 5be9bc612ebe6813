#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "backend/backend.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/row_ranges.h"
#include "backend/rotary_table.h"
#include "common/dtype.h"
#include "common/status.h"
#include "common/thread_pool.h"

namespace phidias::cpu {

// Activations of one step's attention, a row per step row.
struct AttentionActivations {
  float* q = nullptr;        // [rows, n_heads * head_dim], rotated in place
  const float* k = nullptr;  // [rows, n_kv_heads * head_dim]
  const float* v = nullptr;  // [rows, n_kv_heads * head_dim]
  float* out = nullptr;      // [rows, n_heads * head_dim]
};

// The attention of the `float` arithmetic with its KV cache.
class FloatAttention {
 public:
  FloatAttention(const ModelShape& shape, const Kernels& kernels, DType kv_dtype, int threads);

  // Error: not enough memory.
  Result<std::unique_ptr<KvStore>> Allocate(int64_t positions) const;

  // Rotates q and k, appends k and v to the rows' stores (of Allocate), and attends.
  void Run(int64_t layer, std::span<const StepRow> rows, const AttentionActivations& x, ThreadPool& pool);

 private:
  void Append(int64_t layer, const StepRow& row, int64_t m, int64_t kv_head, const AttentionActivations& x,
              float* key) const;
  void ResizeScratch(std::span<const StepRow> rows);
  void Attend(int64_t layer, std::span<const StepRow> rows, const RowRange& range, int64_t kv_head,
              const AttentionActivations& x, int thread);

  ModelShape shape_;
  const Kernels& kernels_;
  DType kv_dtype_;
  int64_t group_;  // query heads of a KV head
  float scale_;    // 1 / sqrt(head_dim)
  RotaryTable rotary_;
  std::vector<RowRange> ranges_;
  std::vector<std::vector<float>> scratch_;                // per thread
  std::vector<std::vector<AttentionRow>> attention_rows_;  // per thread
};

}  // namespace phidias::cpu
