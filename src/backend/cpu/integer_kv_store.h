#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

#include "backend/backend.h"
#include "backend/cpu/attention_s8.h"

namespace phidias::cpu {

// int8 keys and values of one sequence, [layer][kv head] each in the order of attention_s8.h.
class IntegerKvStore final : public KvStore {
 public:
  IntegerKvStore(const ModelShape& shape, int64_t capacity)
      : heads_(shape.n_kv_heads),
        capacity_(capacity),
        key_bytes_(PaddedPositions(capacity) * KeyDim(shape.head_dim)),
        value_bytes_(PaddedPositions(capacity) * ValueDim(shape.head_dim)),
        keys_(Zeros(shape.n_layers * heads_ * key_bytes_)),
        values_(Zeros(shape.n_layers * heads_ * value_bytes_)),
        bytes_(shape.n_layers * heads_ * (key_bytes_ + value_bytes_)) {}

  int64_t capacity() const override { return capacity_; }
  int64_t bytes() const override { return bytes_; }
  int8_t* Keys(int64_t layer, int64_t head) { return keys_.get() + (layer * heads_ + head) * key_bytes_; }
  int8_t* Values(int64_t layer, int64_t head) { return values_.get() + (layer * heads_ + head) * value_bytes_; }

 private:
  struct Free {
    void operator()(int8_t* bytes) const { std::free(bytes); }
  };
  using Bytes = std::unique_ptr<int8_t[], Free>;

  // Zeros that the system provides when a page is first touched.
  static Bytes Zeros(int64_t bytes) {
    auto* memory = static_cast<int8_t*>(std::calloc(static_cast<size_t>(bytes), 1));
    if (memory == nullptr) {
      throw std::bad_alloc();
    }
    return Bytes(memory);
  }

  int64_t heads_;
  int64_t capacity_;
  int64_t key_bytes_;  // of one head
  int64_t value_bytes_;
  Bytes keys_;
  Bytes values_;
  int64_t bytes_;
};

}  // namespace phidias::cpu
