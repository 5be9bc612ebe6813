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

// A tile's share of the logits of one sweep to its best ones, row by row.
inline void ChooseRows(Stream<Word>& logits, const Pass& pass, int32_t rows, Stream<Word>& out) {
  Candidate lists[kHeadRows][kCandidates];
CLEAR_ROWS:
  for (int r = 0; r < kHeadRows; ++r) {
    ClearCandidates(lists[r]);
  }
  const int32_t groups = RowGroups(pass.head_rows);
GROUPS:
  for (int32_t g = 0; g < groups; ++g) {
  ROWS:
    for (int32_t r = 0; r < rows; ++r) {
      const Word word = logits.read();
    LOGITS:
      for (int i = 0; i < kTileRows; ++i) {
        PHIDIAS_PIPELINE(1)
        const int32_t row = g * kTileRows + i;
        const int32_t id = pass.tile * pass.head_rows + row;
        if (row < pass.head_rows && id < pass.candidate_ids) {
          Insert({FloatAt(word, i), id}, lists[r]);
        }
      }
    }
  }
WRITE:
  for (int32_t r = 0; r < rows; ++r) {
  WRITE_WORDS:
    for (int w = 0; w < kCandidateWords; ++w) {
      out.write(CandidateWord(lists[r], w));
    }
  }
}

// Results on their way to the ring: all as they are, but for logits of which only the best are wanted.
inline void Choose(Stream<Word>& headers, Stream<Word>& in, Stream<Word>& out) {
  bool running = true;
PASSES:
  while (running) {
    const Pass pass = ReadPass(headers.read());
    running = pass.opcode != kStop;
    const int32_t per_layer = (pass.mlp_slice_words + 2 * RowGroups(pass.rows)) * pass.tokens;
    const int32_t layer_words = running ? pass.layers * per_layer : 0;
  LAYERS:
    for (int32_t w = 0; w < layer_words; ++w) {
      PHIDIAS_PIPELINE(1)
      out.write(in.read());
    }
    const int32_t sweeps = running ? Sweeps(pass) : 0;
  SWEEPS:
    for (int32_t s = 0; s < sweeps; ++s) {
      const int32_t rows = SweepRows(pass, s);
      if (pass.best) {
        ChooseRows(in, pass, rows, out);
      } else {
        const int32_t words = RowGroups(pass.head_rows) * rows;
      LOGITS:
        for (int32_t w = 0; w < words; ++w) {
          PHIDIAS_PIPELINE(1)
          out.write(in.read());
        }
      }
    }
  }
}

}  // namespace tiled
}  // namespace hls
}  // namespace phidias
