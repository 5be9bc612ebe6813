#pragma once

#include "hls/tiled_header.h"
#include "numerics/integer.h"

// The attention of a tile's heads over an int8 KV cache, all lanes of a pass side by side. Streams in, streams out.
//
// Per layer: q, k and v arrive and are rotated; then the keys of all heads, group by group, become scores, the scores
// probabilities, and the values of all heads weighted sums. The pass's own keys and values are put into the group that
// the cache has open, which leaves for the cache whole.
namespace phidias {
namespace hls {
namespace tiled {

struct HeadConstants {
  numerics::FixedFactor to_steps;
  numerics::FixedFactor ratio;
  int32_t zero_point;
};

PHIDIAS_INLINE HeadConstants HeadConstantsOf(const Word& word) {
  return {{IntAt(word, 0), IntAt(word, 1)}, {IntAt(word, 2), IntAt(word, 3)}, IntAt(word, 4)};
}

using HeadBytes = int8_t[kLanes][kMaxTileElements];
using RotaryRows = int16_t[kLanes][kMaxHeadDim];  // half of rotary_dim cosines, then as many sines

inline void LoadExpTable(Stream<Word>& in, int32_t table[numerics::kExpTableSize]) {
WORDS:
  for (int w = 0; w < kExpTableWords; ++w) {
    const Word word = in.read();
  ENTRIES:
    for (int i = 0; i < kWordFloats; ++i) {
      PHIDIAS_PIPELINE(1)
      table[w * kWordFloats + i] = IntAt(word, i);
    }
  }
}

// Per lane the words of cosines, then those of sines.
inline void LoadRotary(Stream<Word>& in, const Pass& pass, RotaryRows& rows) {
  constexpr int kShorts = kWordBytes / 2;
  const int32_t half = pass.rotary_dim / 2;
  const int32_t words = RotaryWords(pass.rotary_dim) / 2;
LANES:
  for (int32_t lane = 0; lane < pass.tokens; ++lane) {
  PARTS:
    for (int part = 0; part < 2; ++part) {
    WORDS:
      for (int32_t w = 0; w < words; ++w) {
        const Word word = in.read();
      ENTRIES:
        for (int i = 0; i < kShorts; ++i) {
          PHIDIAS_PIPELINE(1)
          if (w * kShorts + i < half) {
            rows[lane][part * half + w * kShorts + i] = static_cast<int16_t>(Field<16>(word, i));
          }
        }
      }
    }
  }
}

// One of q, k, v: 16 integers a word, lanes in turn.
inline void LoadRows(Stream<Word>& in, const Pass& pass, int32_t rows[kLanes][kMaxTileElements]) {
  const int32_t groups = RowGroups(pass.rows);
GROUPS:
  for (int32_t g = 0; g < groups; ++g) {
  LANES:
    for (int32_t lane = 0; lane < pass.tokens; ++lane) {
      const Word word = in.read();
    ROWS:
      for (int i = 0; i < kTileRows; ++i) {
        PHIDIAS_PIPELINE(1)
        rows[lane][g * kTileRows + i] = IntAt(word, i);
      }
    }
  }
}

// q or k of all heads and lanes to int8: the first rotary_dim elements of a head rotated, the others narrowed.
inline void Rotate(const int32_t in[kLanes][kMaxTileElements], const RotaryRows& rotary, const Pass& pass,
                   HeadBytes& out) {
  const int32_t half = pass.rotary_dim / 2;
LANES:
  for (int32_t lane = 0; lane < pass.tokens; ++lane) {
  HEADS:
    for (int32_t head = 0; head < pass.heads; ++head) {
      const int32_t at = head * pass.head_dim;
    PAIRS:
      for (int32_t i = 0; i < half; ++i) {
        PHIDIAS_PIPELINE(1)
        int32_t low = 0;
        int32_t high = 0;
        numerics::RotateS16(rotary[lane][i], rotary[lane][half + i], in[lane][at + i], in[lane][at + half + i], &low,
                            &high);
        out[lane][at + i] = static_cast<int8_t>(low);
        out[lane][at + half + i] = static_cast<int8_t>(high);
      }
    REST:
      for (int32_t i = pass.rotary_dim; i < pass.head_dim; ++i) {
        PHIDIAS_PIPELINE(1)
        out[lane][at + i] = static_cast<int8_t>(numerics::NarrowS16(in[lane][at + i]));
      }
    }
  }
}

// The next group of one head's keys or values: from the cache where it has one, with the pass's own rows put in where
// it is the open one. Then it also leaves for the cache.
inline void LoadGroup(Stream<Word>& cache, const HeadBytes& fresh, const Pass& pass, int32_t head, int32_t group,
                      Stream<Word>& kept, int8_t out[kKvGroup * kMaxHeadDim]) {
  const int32_t words = KvGroupWords(pass.head_dim);
  const bool stored = group < StoredGroups(pass);
  const bool open = group == OpenGroup(pass);
WORDS:
  for (int32_t w = 0; w < words; ++w) {
    PHIDIAS_PIPELINE(1)
    const Word word = stored ? cache.read() : Word(0);
  BYTES:
    PHIDIAS_UNROLL_BEFORE
    for (int i = 0; i < kWordBytes; ++i) {
      PHIDIAS_UNROLL
      out[w * kWordBytes + i] = ByteAt(word, i);
    }
  }
  if (open) {
    const int32_t first = pass.position % kKvGroup;
  LANES:
    for (int32_t lane = 0; lane < pass.tokens; ++lane) {
    ELEMENTS:
      for (int32_t d = 0; d < pass.head_dim; ++d) {
        PHIDIAS_PIPELINE(1)
        out[(first + lane) * pass.head_dim + d] = fresh[lane][head * pass.head_dim + d];
      }
    }
  KEEP:
    for (int32_t w = 0; w < words; ++w) {
      Word word = 0;
    KEEP_BYTES:
      PHIDIAS_UNROLL_BEFORE
      for (int i = 0; i < kWordBytes; ++i) {
        PHIDIAS_UNROLL
        SetByte(&word, i, out[w * kWordBytes + i]);
      }
      kept.write(word);
    }
  }
}

// Where a head's and lane's scores begin: whole groups of positions.
PHIDIAS_INLINE int32_t ScoreRow(const Pass& pass, int32_t head, int32_t lane) {
  return (head * pass.tokens + lane) * (OpenGroup(pass) + 1) * kKvGroup;
}

// Keys of all heads to scores.
inline void Score(Stream<Word>& cache, const HeadBytes& q, const HeadBytes& k, const Pass& pass, Stream<Word>& kept,
                  int32_t scores[kMaxTileScores]) {
HEADS:
  for (int32_t head = 0; head < pass.heads; ++head) {
  GROUPS:
    for (int32_t g = 0; g <= OpenGroup(pass); ++g) {
      int8_t keys[kKvGroup * kMaxHeadDim];
      LoadGroup(cache, k, pass, head, g, kept, keys);
    LANES:
      for (int32_t lane = 0; lane < pass.tokens; ++lane) {
      POSITIONS:
        for (int p = 0; p < kKvGroup; ++p) {
          int32_t sum = 0;
        ELEMENTS:
          for (int32_t d = 0; d < pass.head_dim; ++d) {
            PHIDIAS_PIPELINE(1)
            sum += static_cast<int32_t>(q[lane][head * pass.head_dim + d]) * keys[p * pass.head_dim + d];
          }
          scores[ScoreRow(pass, head, lane) + g * kKvGroup + p] = sum;
        }
      }
    }
  }
}

// Scores of one head and lane to probabilities, in place; those past the lane's position become zero. The sum.
inline int32_t Soften(const Pass& pass, int32_t head, int32_t lane, const HeadConstants& constants,
                      const int32_t exp_table[numerics::kExpTableSize], int32_t scores[kMaxTileScores]) {
  const int32_t begin = ScoreRow(pass, head, lane);
  const int32_t count = pass.position + lane + 1;
  int32_t max = scores[begin];
MAX:
  for (int32_t j = 1; j < count; ++j) {
    PHIDIAS_PIPELINE(1)
    const int32_t score = scores[begin + j];
    max = score > max ? score : max;
  }
  int32_t sum = 0;
PROBABILITIES:
  for (int32_t j = 0; j < (OpenGroup(pass) + 1) * kKvGroup; ++j) {
    PHIDIAS_PIPELINE(1)
    const int32_t probability =
        j < count ? numerics::Probability(max - scores[begin + j], constants.to_steps, exp_table) : 0;
    scores[begin + j] = probability;
    sum += probability;
  }
  return sum;
}

// Values of one head, weighted: sums[lane][d].
inline void Weigh(Stream<Word>& cache, const HeadBytes& v, const Pass& pass, int32_t head,
                  const int32_t probabilities[kMaxTileScores], Stream<Word>& kept, int32_t sums[kLanes][kMaxHeadDim]) {
CLEAR_LANES:
  for (int lane = 0; lane < kLanes; ++lane) {
  CLEAR:
    for (int32_t d = 0; d < pass.head_dim; ++d) {
      PHIDIAS_PIPELINE(1)
      sums[lane][d] = 0;
    }
  }
GROUPS:
  for (int32_t g = 0; g <= OpenGroup(pass); ++g) {
    int8_t values[kKvGroup * kMaxHeadDim];
    LoadGroup(cache, v, pass, head, g, kept, values);
  LANES:
    for (int32_t lane = 0; lane < pass.tokens; ++lane) {
    POSITIONS:
      for (int p = 0; p < kKvGroup; ++p) {
        const int32_t probability = probabilities[ScoreRow(pass, head, lane) + g * kKvGroup + p];
      ELEMENTS:
        for (int32_t d = 0; d < pass.head_dim; ++d) {
          PHIDIAS_PIPELINE(1)
          sums[lane][d] += probability * values[p * pass.head_dim + d];
        }
      }
    }
  }
}

// Rows of int8 to words, lanes in turn; what fills up the last word is zero.
inline void WriteRows(const HeadBytes& rows, const Pass& pass, Stream<Word>& out) {
WORDS:
  for (int32_t w = 0; w < pass.slice_words; ++w) {
  LANES:
    for (int32_t lane = 0; lane < pass.tokens; ++lane) {
      Word word = 0;
    BYTES:
      for (int i = 0; i < kWordBytes; ++i) {
        PHIDIAS_PIPELINE(1)
        if (w * kWordBytes + i < pass.rows) {
          SetByte(&word, i, rows[lane][w * kWordBytes + i]);
        }
      }
      out.write(word);
    }
  }
}

// One layer: q, k, v in `qkv`, the cache's groups in `cache`, with the heads' constants before them.
inline void AttendLayer(Stream<Word>& qkv, Stream<Word>& cache, const Pass& pass, const RotaryRows& rotary,
                        const int32_t exp_table[numerics::kExpTableSize], Stream<Word>& kept, Stream<Word>& attended) {
  HeadConstants constants[kMaxTileHeads];
CONSTANTS:
  for (int32_t head = 0; head < pass.heads; ++head) {
    constants[head] = HeadConstantsOf(cache.read());
  }
  int32_t rows[kLanes][kMaxTileElements];
  HeadBytes q;
  HeadBytes k;
  HeadBytes v;
  LoadRows(qkv, pass, rows);
  Rotate(rows, rotary, pass, q);
  LoadRows(qkv, pass, rows);
  Rotate(rows, rotary, pass, k);
  LoadRows(qkv, pass, rows);
V_LANES:
  for (int32_t lane = 0; lane < pass.tokens; ++lane) {
  V_ROWS:
    for (int32_t i = 0; i < pass.rows; ++i) {
      PHIDIAS_PIPELINE(1)
      v[lane][i] = static_cast<int8_t>(rows[lane][i]);
    }
  }
  int32_t scores[kMaxTileScores];
  Score(cache, q, k, pass, kept, scores);
HEADS:
  for (int32_t head = 0; head < pass.heads; ++head) {
    numerics::FixedFactor inverse[kLanes];
  SOFTMAX:
    for (int32_t lane = 0; lane < pass.tokens; ++lane) {
      inverse[lane] = numerics::InverseSum(Soften(pass, head, lane, constants[head], exp_table, scores));
    }
    int32_t sums[kLanes][kMaxHeadDim];
    Weigh(cache, v, pass, head, scores, kept, sums);
  OUT_LANES:
    for (int32_t lane = 0; lane < pass.tokens; ++lane) {
    OUT:
      for (int32_t d = 0; d < pass.head_dim; ++d) {
        PHIDIAS_PIPELINE(1)
        q[lane][head * pass.head_dim + d] = static_cast<int8_t>(numerics::AttentionElement(
            sums[lane][d], inverse[lane], constants[head].ratio, constants[head].zero_point));
      }
    }
  }
  WriteRows(q, pass, attended);
}

// All layers of all passes.
inline void Attend(Stream<Word>& headers, Stream<Word>& rotary, Stream<Word>& qkv, Stream<Word>& cache,
                   Stream<Word>& kept, Stream<Word>& attended) {
  bool running = true;
PASSES:
  while (running) {
    const Pass pass = ReadPass(headers.read());
    running = pass.opcode != kStop;
    if (running) {
      int32_t exp_table[numerics::kExpTableSize];
      RotaryRows rows;
      LoadExpTable(cache, exp_table);
      LoadRotary(rotary, pass, rows);
    LAYERS:
      for (int32_t layer = 0; layer < pass.layers; ++layer) {
        AttendLayer(qkv, cache, pass, rows, exp_table, kept, attended);
      }
    }
  }
}

}  // namespace tiled
}  // namespace hls
}  // namespace phidias
