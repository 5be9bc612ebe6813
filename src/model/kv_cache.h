#pragma once

#include <cstdint>
#include <memory>

#include "backend/backend.h"

namespace phidias {

// The keys and values of one sequence and how many positions of them are valid. [layers, capacity, n_kv_heads *
// head_dim] for each of the two, in the back end's memory.
class KvCache {
 public:
  explicit KvCache(std::unique_ptr<KvStore> store) : store_(std::move(store)) {}

  int64_t length() const { return length_; }  // positions computed so far
  int64_t capacity() const { return store_->capacity(); }
  int64_t bytes() const { return store_->bytes(); }
  KvStore* store() const { return store_.get(); }

  // After a step that computed positions length()..length() + count - 1.
  void Advance(int64_t count) { length_ += count; }
  // Forgets positions from `length` on; the next step overwrites them.
  void Truncate(int64_t length) { length_ = length < length_ ? length : length_; }

 private:
  std::unique_ptr<KvStore> store_;
  int64_t length_ = 0;
};

}  // namespace phidias
