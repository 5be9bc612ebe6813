#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "common/status.h"
#include "model/kv_cache.h"
#include "model/phi.h"

namespace phidias::serve {

// KV caches of a fixed number of sequences, kept after use: a prompt that begins like an earlier one (the next turn of
// a chat, the same system message) needs not be computed from its start. Results don't change by it: a position's keys
// and values are the same bits whoever computed them (docs/numerics.md).
//
// On a CPU, memory is touched as positions are used, and stays for the next user.
class KvPool {
 public:
  // As many caches as there is room for, at most `caches` and at least one: a card's memory holds few. Error: not even
  // one.
  static Result<KvPool> Create(const Phi* phi, int64_t caches, int64_t positions);

  struct Lease {
    size_t slot = 0;
    KvCache cache;
    int64_t reused = 0;  // positions of the prompt that the cache holds already: cache.length()
  };

  int64_t size() const { return static_cast<int64_t>(slots_.size()); }
  int64_t free() const { return static_cast<int64_t>(slots_.size()) - in_use_; }
  // A cache for `prompt`; free() > 0. `reuse` false: an empty one. Errors: no memory.
  Result<Lease> Take(std::span<const int32_t> prompt, bool reuse);
  // Gives it back; `tokens` are those of its positions, and perhaps more.
  void Return(size_t slot, KvCache cache, std::span<const int32_t> tokens);

  // Instead of Return: the cache is lost.
  void Forget(size_t slot);

  int64_t held() const;   // positions that are kept in caches nobody uses
  int64_t bytes() const;  // of the caches that exist

 private:
  struct Slot {
    std::optional<KvCache> cache;  // none: lent, or lost
    std::vector<int32_t> tokens;   // that its positions hold
    bool lent = false;
    int64_t returned = 0;  // when, as a count of returns
    int64_t bytes = 0;
  };
  KvPool(const Phi* phi, int64_t positions) : phi_(phi), positions_(positions) {}
  size_t Choose(std::span<const int32_t> prompt, bool reuse, int64_t* reused) const;

  const Phi* phi_;
  int64_t positions_;
  std::vector<Slot> slots_;
  int64_t in_use_ = 0;
  int64_t returns_ = 0;
};

}  // namespace phidias::serve
