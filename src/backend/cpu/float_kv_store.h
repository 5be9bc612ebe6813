#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "backend/backend.h"
#include "common/dtype.h"

namespace phidias::cpu {

// Keys (rotated) and values of one sequence as float32 or float16, [layer][kv head][position][head_dim] each: one
// head's positions follow each other, so attention reads one stream.
class FloatKvStore final : public KvStore {
 public:
  FloatKvStore(const ModelShape& shape, DType dtype, int64_t capacity)
      : heads_(shape.n_kv_heads),
        row_bytes_(DTypeBytes(dtype, shape.head_dim)),
        capacity_(capacity),
        plane_bytes_(shape.n_layers * heads_ * capacity * row_bytes_),
        data_(new std::byte[static_cast<size_t>(2 * plane_bytes_)]) {}

  int64_t capacity() const override { return capacity_; }
  int64_t bytes() const override { return 2 * plane_bytes_; }
  std::byte* Keys(int64_t layer, int64_t head) {
    return data_.get() + (layer * heads_ + head) * capacity_ * row_bytes_;
  }
  std::byte* Values(int64_t layer, int64_t head) { return Keys(layer, head) + plane_bytes_; }

 private:
  int64_t heads_;
  int64_t row_bytes_;
  int64_t capacity_;
  int64_t plane_bytes_;                // of all keys, or all values
  std::unique_ptr<std::byte[]> data_;  // left uninitialised: pages are touched when positions are
};

}  // namespace phidias::cpu
