#pragma once

#include "hls/tiled_candidate_stages.h"

// The best logits of a tile's rows, with one comparison a cycle: a logit leaves the MAC array every 20 cycles or more,
// and 64 comparisons side by side in each of 32 tiles would take a fifth of the chip. Streams in, streams out.
namespace phidias {
namespace hls {
namespace tiled {

// As Insert, place by place from the last one.
inline void InsertInTurn(const Candidate& newcomer, Candidate list[kCandidates]) {
  if (!Better(newcomer, list[kCandidates - 1])) {
    return;
  }
  Candidate before = list[kCandidates - 1];  // the place's own: what stood there is gone
SHIFT:
  for (int i = kCandidates - 1; i > 0; --i) {
    PHIDIAS_PIPELINE(1)
    const Candidate at = before;
    before = list[i - 1];
    if (Better(newcomer, before)) {
      list[i] = before;
    } else if (Better(newcomer, at)) {
      list[i] = newcomer;
    }
  }
  if (Better(newcomer, before)) {
    list[0] = newcomer;
  }
}

// A tile's share of the logits of one sweep to its best ones, row by row.
inline void KeepBest(Stream<Part>& logits, const Pass& pass, int32_t rows, Stream<Word>& out) {
  Candidate lists[kHeadRows][kCandidates];
CLEAR_ROWS:
  for (int r = 0; r < kHeadRows; ++r) {
  CLEAR:
    for (int i = 0; i < kCandidates; ++i) {
      PHIDIAS_PIPELINE(1)
      lists[r][i] = {0.0F, kNoCandidate};
    }
  }
  const int32_t groups = RowGroups(pass.head_rows);
  const int32_t first = Times(pass.head_rows, pass.tile);
GROUPS:
  for (int32_t g = 0; g < groups; ++g) {
  ROWS:
    for (int32_t r = 0; r < rows; ++r) {
      Part part = 0;
    LOGITS:
      for (int i = 0; i < kTileRows; ++i) {
        if (i % kPartFields == 0) {
          part = logits.read();
        }
        const int32_t row = g * kTileRows + i;
        const int32_t id = first + row;
        if (row < pass.head_rows && id < pass.candidate_ids) {
          InsertInTurn({numerics::FloatOf(Field<32>(part, i % kPartFields)), id}, lists[r]);
        }
      }
    }
  }
WRITE:
  for (int32_t r = 0; r < rows; ++r) {
    Word word = 0;
  WRITE_PAIRS:
    for (int i = 0; i < kCandidates; ++i) {
      PHIDIAS_PIPELINE(1)
      MoveIn(lists[r][i], &word);
      if (i % kCandidatesPerWord == kCandidatesPerWord - 1) {
        out.write(word);
      }
    }
  }
}

// Words that came in parts.
inline void Gather(Stream<Part>& in, int32_t words, Stream<Word>& out) {
  Word word = 0;
WORDS:
  for (int32_t p = 0; p < words * kParts; ++p) {
    PHIDIAS_PIPELINE(1)
    MoveInPart(in.read(), &word);
    if (p % kParts == kParts - 1) {
      out.write(word);
    }
  }
}

// Results on their way to the ring: all as they are, but for logits of which only the best are wanted.
inline void KeepResults(Stream<int32_t>& headers, Stream<Part>& in, Stream<Word>& out) {
  bool running = true;
PASSES:
  while (running) {
    const Pass pass = ReceivePass(headers);
    running = pass.opcode != kStop;
    const int32_t per_layer = Times(pass.mlp_slice_words + 2 * RowGroups(pass.rows), pass.tokens);
    const int32_t layer_words = running ? Times(per_layer, pass.layers) : 0;
    Gather(in, layer_words, out);
    const int32_t sweeps = running ? Sweeps(pass) : 0;
  SWEEPS:
    for (int32_t s = 0; s < sweeps; ++s) {
      const int32_t rows = SweepRows(pass, s);
      if (pass.best) {
        KeepBest(in, pass, rows, out);
      } else {
        Gather(in, Times(RowGroups(pass.head_rows), rows), out);
      }
    }
  }
}

}  // namespace tiled
}  // namespace hls
}  // namespace phidias
