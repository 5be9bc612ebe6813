#pragma once

#include "hls/tiled_header.h"

// The best logits of a row, best first, equal ones by id: the order of engine/sampler.h. Streams in, streams out.
namespace phidias {
namespace hls {
namespace tiled {

struct Candidate {
  float logit;
  int32_t id;
};

PHIDIAS_INLINE bool Better(const Candidate& a, const Candidate& b) {
  return a.id != kNoCandidate && (b.id == kNoCandidate || a.logit > b.logit || (a.logit == b.logit && a.id < b.id));
}

PHIDIAS_INLINE Candidate CandidateAt(const Word& word, int index) {
  return {FloatAt(word, 2 * index), IntAt(word, 2 * index + 1)};
}

// A word of a list, pair by pair.
PHIDIAS_INLINE void MoveIn(const Candidate& candidate, Word* word) {
  MoveInField(numerics::BitsOf(candidate.logit), word);
  MoveInField(static_cast<uint32_t>(candidate.id), word);
}

}  // namespace tiled
}  // namespace hls
}  // namespace phidias
