#pragma once

#include "numerics/elementary.h"
#include "numerics/random.h"
#include "numerics/rounding.h"

// How a token is drawn from candidates: one implementation for the host's sampler (engine/sampler.h) and the card
// (hls/tiled_sampling_stages.h).
namespace phidias {
namespace numerics {

// temperature <= 0: the best candidate; top_k 0: all, else the best so many; top_p >= 1, min_p 0: off.
struct SampleRule {
  float temperature;
  int32_t top_k;
  float top_p;
  float min_p;
};

// What a draw depends on beside its position.
struct DrawKey {
  uint64_t seed;
  uint64_t stream;
};

static constexpr int32_t kWeightBits = 30;  // the best candidate weighs 2^kWeightBits

// A candidate's probability as an integer fraction of the best one's: sums of them don't depend on their order.
PHIDIAS_INLINE uint64_t SampleWeight(float logit, float best, float temperature) {
  const float one = static_cast<float>(1 << kWeightBits);
  return static_cast<uint64_t>(RoundHalfEven(Exp((logit - best) / temperature) * one));
}

// A float in [0, 1] as significand * 2^-shift. A subnormal is zero, as in all arithmetic of the contract.
struct Fraction {
  uint64_t significand;
  int32_t shift;
};
PHIDIAS_INLINE Fraction FractionOf(float value) {
  const uint32_t bits = BitsOf(value);
  const int32_t exponent = static_cast<int32_t>((bits >> 23) & 0xffu);
  return {exponent == 0 ? 0u : (bits & 0x7fffffu) | 0x800000u, 150 - exponent};
}

// The smallest integer that is at least value / 2^shift; value < 2^63.
PHIDIAS_INLINE uint64_t ShiftRightCeil(uint64_t value, int32_t shift) {
  if (shift >= 63) {
    return value != 0 ? 1 : 0;
  }
  return (value + ((static_cast<uint64_t>(1) << shift) - 1)) >> shift;
}

// What a candidate weighs at least to be kept by min_p.
PHIDIAS_INLINE uint64_t LeastWeight(float min_p) {
  const Fraction p = FractionOf(min_p);
  return p.shift <= kWeightBits ? p.significand << (kWeightBits - p.shift)
                                : ShiftRightCeil(p.significand, p.shift - kWeightBits);
}

PHIDIAS_INLINE int32_t BitLength(uint64_t value) {
  int32_t length = 0;
  for (int32_t i = 0; i < 64; ++i) {
    length = (value >> i) != 0 ? i + 1 : length;
  }
  return length;
}

// What the kept candidates weigh at least for top_p of `total` (< 2^61): the smallest integer that is at least their
// product in double precision. Spelled in integers, since a card has no double: of the exact product's bits 53 stay,
// rounded half to even.
PHIDIAS_INLINE uint64_t EnoughWeight(float top_p, uint64_t total) {
  const Fraction p = FractionOf(top_p);
  const uint64_t high = MultiplyHigh(p.significand, total);
  const uint64_t low = p.significand * total;
  const int32_t length = high != 0 ? 64 + BitLength(high) : BitLength(low);
  if (length <= 53) {
    return ShiftRightCeil(low, p.shift);
  }
  const int32_t dropped = length - 53;
  const uint64_t rest = low & ((static_cast<uint64_t>(1) << dropped) - 1);
  const uint64_t tie = static_cast<uint64_t>(1) << (dropped - 1);
  uint64_t kept = (high << (64 - dropped)) | (low >> dropped);
  kept += rest > tie || (rest == tie && (kept & 1) != 0) ? 1 : 0;
  return p.shift <= dropped ? kept << (dropped - p.shift) : ShiftRightCeil(kept, p.shift - dropped);
}

// How many of `count` candidates, best first, top-p and min-p leave. top-p: the shortest prefix that holds at least
// top_p of what is left; min-p: at least min_p times the best. `weights` is room for `count`.
template <class Candidate>
int32_t CountProbable(const Candidate* list, int32_t count, const SampleRule& rule, uint32_t* weights) {
  uint64_t total = 0;
  for (int32_t i = 0; i < count; ++i) {
    weights[i] = static_cast<uint32_t>(SampleWeight(list[i].logit, list[0].logit, 1.0f));
    total += weights[i];
  }
  const uint64_t enough = rule.top_p < 1.0f ? EnoughWeight(rule.top_p, total) : ~static_cast<uint64_t>(0);
  const uint64_t least = LeastWeight(rule.min_p);
  uint64_t sum = 0;
  int32_t kept = 0;
  while (kept < count && (kept == 0 || weights[kept] >= least) && (kept == 0 || sum < enough)) {
    sum += weights[kept++];
  }
  return kept;
}

// Which of the candidates is drawn for `position`.
template <class Candidate>
int32_t DrawCandidate(const Candidate* list, int32_t count, float temperature, const DrawKey& key, uint64_t position,
                      uint32_t* weights) {
  uint64_t total = 0;
  for (int32_t i = 0; i < count; ++i) {
    weights[i] = static_cast<uint32_t>(SampleWeight(list[i].logit, list[0].logit, temperature));
    total += weights[i];
  }
  uint64_t left = ScaleBits(RandomBits(key.seed, key.stream, position), total);
  int32_t drawn = 0;
  while (drawn < count - 1 && left >= weights[drawn]) {
    left -= weights[drawn++];
  }
  return left < weights[drawn] ? drawn : 0;  // all weights are 0 where the temperature is next to nothing
}

// Which of `count` >= 1 candidates (best first, equal ones by id, no more than top_k) is the token at `position`.
template <class Candidate>
int32_t SampleCandidate(const Candidate* list, int32_t count, const SampleRule& rule, const DrawKey& key,
                        uint64_t position, uint32_t* weights) {
  if (rule.temperature <= 0.0f) {
    return 0;
  }
  const int32_t kept = CountProbable(list, count, rule, weights);
  return DrawCandidate(list, kept, rule.temperature, key, position, weights);
}

}  // namespace numerics
}  // namespace phidias
