#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace phidias {

// 64-bit keys to 64-bit values in one array (open addressing, linear probing, at most half full), filled once and then
// only read. Looking up a pair of tokens is the innermost step of BPE; std::unordered_map's chains cost three times as
// much there.
class FlatMap {
 public:
  static constexpr uint64_t kNoKey = ~uint64_t{0};  // may not be inserted

  explicit FlatMap(size_t max_entries = 0) {
    size_t slots = 2;
    while (slots < 2 * max_entries) {
      slots *= 2;
    }
    slots_.assign(slots, Slot{kNoKey, 0});
    mask_ = slots - 1;
  }

  // Inserts or overwrites. At most `max_entries` distinct keys.
  void Set(uint64_t key, uint64_t value) { slots_[Locate(key)] = {key, value}; }

  const uint64_t* Find(uint64_t key) const {
    const Slot& slot = slots_[Locate(key)];
    return slot.key == key ? &slot.value : nullptr;
  }

 private:
  struct Slot {
    uint64_t key;
    uint64_t value;
  };

  // The slot of `key`, or the free one where it belongs.
  size_t Locate(uint64_t key) const {
    uint64_t hash = (key ^ (key >> 31)) * 0x9e3779b97f4a7c15;
    hash ^= hash >> 32;
    size_t at = hash & mask_;
    while (slots_[at].key != key && slots_[at].key != kNoKey) {
      at = (at + 1) & mask_;
    }
    return at;
  }

  std::vector<Slot> slots_;
  size_t mask_;
};

}  // namespace phidias
