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

// A word of a list, pair by pair: what comes in at its end moves on to its begin, so that no pair is led to a place.
PHIDIAS_INLINE void MoveIn(const Candidate& candidate, Word* word) {
FIELDS:
  PHIDIAS_UNROLL_BEFORE
  for (int f = 0; f < kWordFloats - 2; ++f) {
    PHIDIAS_UNROLL
    SetField<32>(word, f, Field<32>(*word, f + 2));
  }
  SetFloat(word, kWordFloats - 2, candidate.logit);
  SetInt(word, kWordFloats - 1, candidate.id);
}

}  // namespace tiled
}  // namespace hls
}  // namespace phidias
