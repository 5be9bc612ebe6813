#include "serve/kv_pool.h"

#include <algorithm>
#include <utility>

namespace phidias::serve {
namespace {

// A shared beginning as short as this isn't worth what it would throw away.
constexpr int64_t kMinShared = 8;

}  // namespace

Result<KvPool> KvPool::Create(const Phi* phi, int64_t caches, int64_t positions) {
  KvPool pool(phi, positions);
  while (pool.size() < caches) {
    Result<KvCache> made = phi->NewKvCache(positions);
    if (!made.ok()) {
      if (pool.size() > 0 && made.status().code() == StatusCode::kResourceExhausted) {
        break;
      }
      return made.status();
    }
    Slot slot;
    slot.bytes = made->bytes();
    slot.cache = *std::move(made);
    pool.slots_.push_back(std::move(slot));
  }
  return pool;
}

// The slot that shares the longest beginning with the prompt, if that is at least half of what it holds (or else
// somebody's long chat would be lost for a common "Instruct: ") or half of the prompt; otherwise the one unused for the
// longest time.
size_t KvPool::Choose(std::span<const int32_t> prompt, bool reuse, int64_t* reused) const {
  std::optional<size_t> oldest;
  std::optional<size_t> best;
  int64_t most = kMinShared - 1;
  for (size_t i = 0; i < slots_.size(); ++i) {
    const Slot& slot = slots_[i];
    if (slot.lent) {
      continue;
    }
    if (!oldest.has_value() || slot.returned < slots_[*oldest].returned) {
      oldest = i;
    }
    const auto shared =
        static_cast<int64_t>(std::mismatch(slot.tokens.begin(), slot.tokens.end(), prompt.begin(), prompt.end()).first -
                             slot.tokens.begin());
    const bool worth = 2 * shared >= static_cast<int64_t>(std::min(slot.tokens.size(), prompt.size()));
    if (reuse && worth && shared > most) {
      best = i;
      most = shared;
    }
  }
  // The last token of the prompt is always computed: its logits are what comes next.
  *reused = best.has_value() ? std::min(most, static_cast<int64_t>(prompt.size()) - 1) : 0;
  return best.value_or(oldest.value_or(0));
}

Result<KvPool::Lease> KvPool::Take(std::span<const int32_t> prompt, bool reuse) {
  int64_t reused = 0;
  const size_t index = Choose(prompt, reuse, &reused);
  Slot& slot = slots_[index];
  if (!slot.cache.has_value()) {
    ASSIGN_OR_RETURN(KvCache made, phi_->NewKvCache(positions_));
    slot.bytes = made.bytes();
    slot.cache = std::move(made);
  }
  Lease lease = {.slot = index, .cache = *std::exchange(slot.cache, std::nullopt), .reused = reused};
  lease.cache.Truncate(reused);
  slot.tokens.clear();
  slot.lent = true;
  ++in_use_;
  return lease;
}

void KvPool::Return(size_t index, KvCache cache, std::span<const int32_t> tokens) {
  Slot& slot = slots_[index];
  const auto held = std::min(tokens.size(), static_cast<size_t>(cache.length()));
  slot.tokens.assign(tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(held));
  slot.cache = std::move(cache);
  slot.lent = false;
  slot.returned = ++returns_;
  --in_use_;
}

void KvPool::Forget(size_t index) {
  Slot& slot = slots_[index];
  slot.bytes = 0;
  slot.lent = false;
  slot.returned = 0;  // nothing to lose by taking it
  --in_use_;
}

int64_t KvPool::held() const {
  int64_t positions = 0;
  for (const Slot& slot : slots_) {
    positions += static_cast<int64_t>(slot.tokens.size());
  }
  return positions;
}

int64_t KvPool::bytes() const {
  int64_t bytes = 0;
  for (const Slot& slot : slots_) {
    bytes += slot.bytes;
  }
  return bytes;
}

}  // namespace phidias::serve
