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

PHIDIAS_INLINE void ClearCandidates(Candidate list[kCandidates]) {
CLEAR:
  PHIDIAS_UNROLL_BEFORE
  for (int i = 0; i < kCandidates; ++i) {
    PHIDIAS_UNROLL
    list[i] = {0.0F, kNoCandidate};
  }
}

// Every place compares with the newcomer at once, and what is worse moves on by one: a cycle an element.
PHIDIAS_INLINE void Insert(const Candidate& newcomer, Candidate list[kCandidates]) {
  if (!Better(newcomer, list[kCandidates - 1])) {
    return;
  }
SHIFT:
  PHIDIAS_UNROLL_BEFORE
  for (int i = kCandidates - 1; i > 0; --i) {
    PHIDIAS_UNROLL
    if (Better(newcomer, list[i - 1])) {
      list[i] = list[i - 1];
    } else if (Better(newcomer, list[i])) {
      list[i] = newcomer;
    }
  }
  if (Better(newcomer, list[0])) {
    list[0] = newcomer;
  }
}

PHIDIAS_INLINE Candidate CandidateAt(const Word& word, int index) {
  return {FloatAt(word, 2 * index), IntAt(word, 2 * index + 1)};
}

// Word w of a list: eight pairs of logit and id.
PHIDIAS_INLINE Word CandidateWord(const Candidate list[kCandidates], int w) {
  Word word = 0;
PAIRS:
  PHIDIAS_UNROLL_BEFORE
  for (int i = 0; i < kCandidatesPerWord; ++i) {
    PHIDIAS_UNROLL
    SetFloat(&word, 2 * i, list[w * kCandidatesPerWord + i].logit);
    SetInt(&word, 2 * i + 1, list[w * kCandidatesPerWord + i].id);
  }
  return word;
}

}  // namespace tiled
}  // namespace hls
}  // namespace phidias
