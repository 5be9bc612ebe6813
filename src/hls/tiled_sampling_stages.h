#pragma once

#include "hls/tiled_candidate_stages.h"
#include "numerics/sampling.h"

// The next token from the best logits of all, as the host's sampler would choose it (engine/sampler.h). Streams in.
namespace phidias {
namespace hls {
namespace tiled {

// How a generation chooses.
struct Choice {
  int32_t banned[kMaxBanned];  // ids that are never chosen
  int32_t banned_count;
  numerics::SampleRule rule;
  numerics::DrawKey key;
};

PHIDIAS_INLINE uint64_t LoadShared64(const volatile uint32_t* place) {
  const uint64_t low = LoadShared(place);
  return (static_cast<uint64_t>(LoadShared(place + 1)) << 32) | low;
}

inline void LoadChoice(const volatile uint32_t* ring, Choice& choice) {
  const int32_t count = static_cast<int32_t>(LoadShared(ring + kBannedAt));
  choice.banned_count = count < kMaxBanned ? count : kMaxBanned;
BANNED:
  for (int32_t b = 0; b < choice.banned_count; ++b) {
    choice.banned[b] = static_cast<int32_t>(LoadShared(ring + kBannedAt + 1 + b));
  }
  const volatile uint32_t* const sampling = ring + kSamplingAt;
  choice.rule.temperature = numerics::FloatOf(LoadShared(sampling + kSamplingTemperature));
  choice.rule.top_k = static_cast<int32_t>(LoadShared(sampling + kSamplingTopK));
  choice.rule.top_p = numerics::FloatOf(LoadShared(sampling + kSamplingTopP));
  choice.rule.min_p = numerics::FloatOf(LoadShared(sampling + kSamplingMinP));
  choice.key.seed = LoadShared64(sampling + kSamplingSeed);
  choice.key.stream = LoadShared64(sampling + kSamplingStream);
}

// The candidates that aren't banned, in their order. Returns how many.
inline int32_t AllowedCandidates(Stream<Beat>& results, const Choice& choice, Candidate list[kCandidates]) {
  int32_t count = 0;
WORDS:
  for (int w = 0; w < kCandidateWords; ++w) {
    const Word word = results.read().data;
  CANDIDATES:
    for (int i = 0; i < kCandidatesPerWord; ++i) {
      const Candidate candidate = CandidateAt(word, i);
      bool allowed = candidate.id != kNoCandidate;
    BANNED:
      for (int32_t b = 0; b < choice.banned_count; ++b) {
        PHIDIAS_PIPELINE(1)
        allowed = allowed && choice.banned[b] != candidate.id;
      }
      if (allowed) {
        list[count++] = candidate;
      }
    }
  }
  return count;
}

// The token at `position`, or kNoCandidate where all candidates are banned.
inline int32_t ChooseToken(Stream<Beat>& results, const Choice& choice, int32_t position) {
  Candidate list[kCandidates];
  uint32_t weights[kCandidates];
  int32_t count = AllowedCandidates(results, choice, list);
  if (count == 0) {
    return kNoCandidate;
  }
  count = choice.rule.top_k > 0 && choice.rule.top_k < count ? choice.rule.top_k : count;
  return list[numerics::SampleCandidate(list, count, choice.rule, choice.key, static_cast<uint64_t>(position), weights)]
      .id;
}

}  // namespace tiled
}  // namespace hls
}  // namespace phidias
