#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "backend/backend.h"
#include "backend/cpu/attention_s8.h"
#include "backend/cpu/integer_kernels.h"
#include "backend/cpu/row_ranges.h"
#include "backend/integer_model.h"
#include "common/status.h"
#include "common/thread_pool.h"

namespace phidias::cpu {

// Activations of one step's attention in integers, a row per step row.
struct IntegerAttentionActivations {
  const int32_t* q = nullptr;  // [rows, n_heads * head_dim], int16 with guard bits
  const int32_t* k = nullptr;  // [rows, n_kv_heads * head_dim], likewise
  const int8_t* v = nullptr;   // [rows, n_kv_heads * head_dim]
  int8_t* out = nullptr;       // [rows, n_heads * head_dim]
};

// The attention of the `integer` arithmetic with its int8 KV cache.
class IntegerAttentionRunner {
 public:
  IntegerAttentionRunner(const ModelShape& shape, const IntegerKernels& kernels, int threads);

  // Error: not enough memory.
  Result<std::unique_ptr<KvStore>> Allocate(int64_t positions) const;

  // Rotates q and k, appends k and v to the rows' stores (of Allocate), and attends.
  void Run(const IntegerModel& model, int64_t layer, std::span<const StepRow> rows,
           const IntegerAttentionActivations& x, ThreadPool& pool);

 private:
  struct Scratch {
    std::vector<int32_t> attention;
    std::vector<int8_t> key;  // [KeyDim]
    std::vector<ref::AttentionConstants> constants;
    std::vector<AttentionRowS8> rows;
  };

  void Append(const IntegerModel& model, int64_t layer, const StepRow& row, int64_t m, int64_t kv_head,
              const IntegerAttentionActivations& x, int8_t* key);
  void Prepare(const IntegerModel& model, std::span<const StepRow> rows);
  void Attend(const IntegerModel& model, int64_t layer, std::span<const StepRow> rows, const RowRange& range,
              int64_t kv_head, const IntegerAttentionActivations& x, Scratch& scratch);

  ModelShape shape_;
  const IntegerKernels& kernels_;
  int64_t group_;                  // query heads of a KV head
  std::vector<int8_t> rotated_q_;  // [rows, n_heads * head_dim]
  std::vector<int16_t> probability_table_;
  std::vector<RowRange> ranges_;
  std::vector<Scratch> scratch_;  // per thread
};

}  // namespace phidias::cpu
