#pragma once

#include "hls/tiled_header.h"
#include "numerics/integer.h"

// The attention of a tile's heads over an int8 KV cache, all lanes of a pass side by side. Streams in, streams out.
//
// Per layer: q, k and v arrive and are rotated; then the keys of all heads, group by group, become scores, the scores
// probabilities, and the values of all heads weighted sums, kAttendBytes products a cycle. The pass's own keys and
// values are put into the group that the cache has open, which leaves for the cache whole.
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

// Elements of all heads, each head's filled up to whole chunks with zeros.
using HeadBytes = int8_t[kLanes][kMaxTileBytes];
using HeadRows = int8_t[kLanes][kMaxTileElements];   // one head behind the other
using TileRows = int16_t[kLanes][kMaxTileElements];  // q, k or v as their grids have them
using RotaryRows = int16_t[kLanes][kMaxHeadDim];     // half of rotary_dim cosines, then as many sines

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
inline void LoadRotary(Stream<Part>& in, const Pass& pass, RotaryRows& rows) {
  constexpr int kShorts = kPartBytes / 2;
  const int32_t half = pass.rotary_dim / 2;
  const int32_t words = RotaryWords(pass.rotary_dim) / 2 * kParts;
LANES:
  for (int32_t lane = 0; lane < pass.tokens; ++lane) {
  PARTS:
    for (int part = 0; part < 2; ++part) {
    WORDS:
      for (int32_t w = 0; w < words; ++w) {
        const Part word = in.read();
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

// One of q, k, v: 16 rows of each lane in turn.
inline void LoadRows(Stream<int32_t>& in, const Pass& pass, TileRows& rows) {
  const int32_t steps = Times(RowGroups(pass.rows) * kTileRows, pass.tokens);
  int32_t first = 0;
  int32_t lane = 0;
  int32_t row = 0;
ROWS:
  for (int32_t step = 0; step < steps; ++step) {
    PHIDIAS_PIPELINE(1)
    rows[lane][first + row] = static_cast<int16_t>(in.read());
    if (++row == kTileRows) {
      row = 0;
      if (++lane == pass.tokens) {
        lane = 0;
        first += kTileRows;
      }
    }
  }
}

// What fills up the heads' last chunks.
inline void ClearPadding(const Pass& pass, HeadBytes& out) {
  const int32_t bytes = HeadChunks(pass.head_dim) * kAttendBytes;
LANES:
  for (int32_t lane = 0; lane < pass.tokens; ++lane) {
  HEADS:
    for (int32_t head = 0; head < pass.heads; ++head) {
    PADDING:
      for (int32_t i = pass.head_dim; i < bytes; ++i) {
        PHIDIAS_PIPELINE(1)
        out[lane][head * bytes + i] = 0;
      }
    }
  }
}

// q or k of all heads and lanes to int8: the first rotary_dim elements of a head rotated, the others narrowed.
inline void Rotate(const TileRows& in, const RotaryRows& rotary, const Pass& pass, HeadBytes& out) {
  const int32_t half = pass.rotary_dim / 2;
  ClearPadding(pass, out);
LANES:
  for (int32_t lane = 0; lane < pass.tokens; ++lane) {
  HEADS:
    for (int32_t head = 0; head < pass.heads; ++head) {
      const int32_t from = head * pass.head_dim;
      const int32_t to = head * HeadChunks(pass.head_dim) * kAttendBytes;
    PAIRS:
      for (int32_t i = 0; i < half; ++i) {
        PHIDIAS_PIPELINE(2)  // four products share two multipliers
        int32_t low = 0;
        int32_t high = 0;
        numerics::RotateS16(rotary[lane][i], rotary[lane][half + i], in[lane][from + i], in[lane][from + half + i],
                            &low, &high);
        out[lane][to + i] = static_cast<int8_t>(low);
        out[lane][to + half + i] = static_cast<int8_t>(high);
      }
    REST:
      for (int32_t i = pass.rotary_dim; i < pass.head_dim; ++i) {
        PHIDIAS_PIPELINE(1)
        out[lane][to + i] = static_cast<int8_t>(numerics::NarrowS16(in[lane][from + i]));
      }
    }
  }
}

// v of all heads and lanes, which is int8 already.
inline void Narrow(const TileRows& in, const Pass& pass, HeadBytes& out) {
  ClearPadding(pass, out);
LANES:
  for (int32_t lane = 0; lane < pass.tokens; ++lane) {
  HEADS:
    for (int32_t head = 0; head < pass.heads; ++head) {
      const int32_t to = head * HeadChunks(pass.head_dim) * kAttendBytes;
    ELEMENTS:
      for (int32_t i = 0; i < pass.head_dim; ++i) {
        PHIDIAS_PIPELINE(1)
        out[lane][to + i] = static_cast<int8_t>(in[lane][head * pass.head_dim + i]);
      }
    }
  }
}

// Where a walk over the groups of one head's keys or values stands: for each word of each group, for each lane, each of
// the group's positions. One loop takes all of them, a step a cycle, so that no loop within it runs empty.
struct Walk {
  int32_t position;  // within the group
  int32_t lane;
  int32_t chunk;
  int32_t group;
};
PHIDIAS_INLINE int32_t WalkSteps(const Pass& pass) {
  return Times(Times(OpenGroup(pass) + 1, HeadChunks(pass.head_dim)), pass.tokens) * kKvGroup;
}
PHIDIAS_INLINE void Advance(const Pass& pass, Walk* at) {
  if (++at->position == kKvGroup) {
    at->position = 0;
    if (++at->lane == pass.tokens) {
      at->lane = 0;
      if (++at->chunk == HeadChunks(pass.head_dim)) {
        at->chunk = 0;
        ++at->group;
      }
    }
  }
}

// The walk's next word: from the cache where it has one, with the pass's own rows put in where its group is the open
// one.
inline void TakeWord(Stream<Word>& cache, const HeadBytes& fresh, const Pass& pass, int32_t head, const Walk& at,
                     int8_t bytes[kWordBytes]) {
  const int32_t from = (head * HeadChunks(pass.head_dim) + at.chunk) * kAttendBytes;
  const bool open = at.group == OpenGroup(pass);
  const Word word = at.group < StoredGroups(pass) ? cache.read() : Word(0);
POSITIONS:
  PHIDIAS_UNROLL_BEFORE
  for (int p = 0; p < kKvGroup; ++p) {
    PHIDIAS_UNROLL
    const int32_t lane = p - pass.position % kKvGroup;
    const bool own = open && lane >= 0 && lane < pass.tokens;
  BYTES:
    PHIDIAS_UNROLL_BEFORE
    for (int i = 0; i < kAttendBytes; ++i) {
      PHIDIAS_UNROLL
      bytes[p * kAttendBytes + i] = own ? fresh[lane & (kLanes - 1)][from + i] : ByteAt(word, p * kAttendBytes + i);
    }
  }
}

// Words of the open group leave for the cache too, position by position as the first lane meets them.
inline void KeepPosition(const Pass& pass, const Walk& at, const int8_t bytes[kWordBytes], Stream<Part>& kept) {
  static_assert(kAttendBytes == kPartBytes, "a position's chunk is a part of a word");
  if (at.group == OpenGroup(pass) && at.lane == 0) {
    Part part = 0;
  BYTES:
    PHIDIAS_UNROLL_BEFORE
    for (int i = 0; i < kAttendBytes; ++i) {
      PHIDIAS_UNROLL
      SetField<8>(&part, i, static_cast<uint8_t>(bytes[at.position * kAttendBytes + i]));
    }
    kept.write(part);
  }
}

// Where a head's and lane's scores begin: whole groups of positions.
PHIDIAS_INLINE int32_t ScoreRow(const Pass& pass, int32_t head, int32_t lane) {
  return Times(Times(head, pass.tokens) + lane, OpenGroup(pass) + 1) * kKvGroup;
}

// The same for all lanes of a head, before a walk: no step multiplies for an address.
PHIDIAS_INLINE void ScoreRows(const Pass& pass, int32_t head, int32_t first[kLanes]) {
LANES:
  for (int32_t lane = 0; lane < kLanes; ++lane) {
    first[lane] = ScoreRow(pass, head, lane);
  }
}

// Keys of one head to scores, and each lane's largest.
inline void Score(Stream<Word>& cache, const HeadBytes& q, const HeadBytes& k, const Pass& pass, int32_t head,
                  Stream<Part>& kept, int32_t scores[kMaxTileScores], int32_t largest[kLanes]) {
  const int32_t chunks = HeadChunks(pass.head_dim);
  int8_t keys[kWordBytes];
  int32_t sums[kLanes][kKvGroup];
  int32_t first[kLanes];
  ScoreRows(pass, head, first);
  PHIDIAS_PARTITION(keys)
  PHIDIAS_PARTITION(sums)
  Walk at = {0, 0, 0, 0};
  const int32_t steps = WalkSteps(pass);
STEPS:
  for (int32_t step = 0; step < steps; ++step) {
    PHIDIAS_PIPELINE(1)
    if (at.position == 0 && at.lane == 0) {
      TakeWord(cache, k, pass, head, at, keys);
    }
    KeepPosition(pass, at, keys, kept);
    int32_t sum = at.chunk == 0 ? 0 : sums[at.lane][at.position];
  PRODUCTS:
    PHIDIAS_UNROLL_BEFORE
    for (int i = 0; i < kAttendBytes; ++i) {
      PHIDIAS_UNROLL
      const int32_t product = static_cast<int32_t>(q[at.lane][(head * chunks + at.chunk) * kAttendBytes + i]) *
                              keys[at.position * kAttendBytes + i];
      PHIDIAS_PRODUCT_IN_LOGIC(product)
      sum += product;
    }
    sums[at.lane][at.position] = sum;
    if (at.chunk == chunks - 1) {
      const int32_t j = at.group * kKvGroup + at.position;
      scores[first[at.lane] + j] = sum;
      if (j == 0 || (j <= pass.position + at.lane && sum > largest[at.lane])) {
        largest[at.lane] = sum;
      }
    }
    Advance(pass, &at);
  }
}

// A score lies less than this below the largest one, which is never smaller: two DSPs less for the product.
static constexpr int32_t kDifferenceMask = (1 << 26) - 1;
static_assert(2 * kMaxHeadDim * 128 * 128 <= kDifferenceMask, "a difference of two scores fits");

// Scores of one head and lane to probabilities, in place; those past the lane's position become zero. The sum.
inline int32_t Soften(const Pass& pass, int32_t head, int32_t lane, int32_t largest, const HeadConstants& constants,
                      const int32_t exp_table[numerics::kExpTableSize], int32_t scores[kMaxTileScores]) {
  const int32_t begin = ScoreRow(pass, head, lane);
  const int32_t count = pass.position + lane + 1;
  int32_t sum = 0;
PROBABILITIES:
  for (int32_t j = 0; j < (OpenGroup(pass) + 1) * kKvGroup; ++j) {
    PHIDIAS_PIPELINE(1)
    const int32_t probability = j < count ? numerics::Probability((largest - scores[begin + j]) & kDifferenceMask,
                                                                  constants.to_steps, exp_table)
                                          : 0;
    scores[begin + j] = probability;
    sum += probability;
  }
  return sum;
}

// Values of one head, weighted: sums[lane][d].
inline void Weigh(Stream<Word>& cache, const HeadBytes& v, const Pass& pass, int32_t head,
                  const int32_t probabilities[kMaxTileScores], Stream<Part>& kept, int32_t sums[kLanes][kMaxHeadDim]) {
  int8_t values[kWordBytes];
  int32_t acc[kAttendBytes];
  int32_t first[kLanes];
  ScoreRows(pass, head, first);
  PHIDIAS_PARTITION(values)
  PHIDIAS_PARTITION(acc)
  Walk at = {0, 0, 0, 0};
  const int32_t steps = WalkSteps(pass);
STEPS:
  for (int32_t step = 0; step < steps; ++step) {
    PHIDIAS_PIPELINE(1)
    PHIDIAS_DISTANCE(sums, kKvGroup)
    if (at.position == 0 && at.lane == 0) {
      TakeWord(cache, v, pass, head, at, values);
    }
    KeepPosition(pass, at, values, kept);
    const auto probability =
        static_cast<int16_t>(probabilities[first[at.lane] + at.group * kKvGroup + at.position]);  // of 12 bits
  PRODUCTS:
    PHIDIAS_UNROLL_BEFORE
    for (int i = 0; i < kAttendBytes; ++i) {
      PHIDIAS_UNROLL
      const int32_t d = at.chunk * kAttendBytes + i;
      if (at.position == 0) {
        acc[i] = at.group == 0 ? 0 : sums[at.lane][d];
      }
      acc[i] += probability * values[at.position * kAttendBytes + i];
      if (at.position == kKvGroup - 1) {
        sums[at.lane][d] = acc[i];
      }
    }
    Advance(pass, &at);
  }
}

// Rows of int8 to words, lanes in turn; what fills up the last word is zero.
inline void WriteRows(const HeadRows& rows, const Pass& pass, Stream<Word>& out) {
WORDS:
  for (int32_t w = 0; w < pass.slice_words; ++w) {
  LANES:
    for (int32_t lane = 0; lane < pass.tokens; ++lane) {
      Word word = 0;
      uint32_t field = 0;
    BYTES:
      for (int i = 0; i < kWordBytes; ++i) {
        PHIDIAS_PIPELINE(1)
        const int32_t at = w * kWordBytes + i;
        const uint32_t byte = at < pass.rows ? static_cast<uint8_t>(rows[lane][at]) : 0U;
        field = (field >> 8) | (byte << 24);
        if (i % 4 == 3) {
          MoveInField(field, &word);
        }
      }
      out.write(word);
    }
  }
}

// One layer: q, k, v in `qkv`, the cache's groups in `cache`, with the heads' constants before them.
inline void AttendLayer(Stream<int32_t>& qkv, Stream<Word>& cache, const Pass& pass, const RotaryRows& rotary,
                        const int32_t exp_table[numerics::kExpTableSize], Stream<Part>& kept, Stream<Word>& attended) {
  HeadConstants constants[kMaxTileHeads];
CONSTANTS:
  for (int32_t head = 0; head < pass.heads; ++head) {
    constants[head] = HeadConstantsOf(cache.read());
  }
  TileRows rows;
  HeadBytes q;
  HeadBytes k;
  HeadBytes v;
  PHIDIAS_PARTITION_COLUMNS(q, kAttendBytes)
  // A word of the open group takes a chunk of every lane at once.
  PHIDIAS_PARTITION_ROWS(k)
  PHIDIAS_PARTITION_COLUMNS(k, kAttendBytes)
  PHIDIAS_PARTITION_ROWS(v)
  PHIDIAS_PARTITION_COLUMNS(v, kAttendBytes)
  LoadRows(qkv, pass, rows);
  Rotate(rows, rotary, pass, q);
  LoadRows(qkv, pass, rows);
  Rotate(rows, rotary, pass, k);
  LoadRows(qkv, pass, rows);
  Narrow(rows, pass, v);
  int32_t scores[kMaxTileScores];
  PHIDIAS_STORAGE(scores, ram_2p, uram)
  int32_t largest[kMaxTileHeads][kLanes];
SCORES:
  for (int32_t head = 0; head < pass.heads; ++head) {
    Score(cache, q, k, pass, head, kept, scores, largest[head]);
  }
  HeadRows out;
HEADS:
  for (int32_t head = 0; head < pass.heads; ++head) {
    numerics::FixedFactor inverse[kLanes];
  SOFTMAX:
    for (int32_t lane = 0; lane < pass.tokens; ++lane) {
      inverse[lane] =
          numerics::InverseSum(Soften(pass, head, lane, largest[head][lane], constants[head], exp_table, scores));
    }
    int32_t sums[kLanes][kMaxHeadDim];
    PHIDIAS_PARTITION_COLUMNS(sums, kAttendBytes)
    Weigh(cache, v, pass, head, scores, kept, sums);
  OUT_LANES:
    for (int32_t lane = 0; lane < pass.tokens; ++lane) {
    OUT:
      for (int32_t d = 0; d < pass.head_dim; ++d) {
        PHIDIAS_PIPELINE(2)  // two products of 32 bits share a multiplier
        out[lane][head * pass.head_dim + d] = static_cast<int8_t>(numerics::AttentionElement(
            sums[lane][d], inverse[lane], constants[head].ratio, constants[head].zero_point));
      }
    }
  }
  WriteRows(out, pass, attended);
}

// All layers of all passes.
inline void Attend(Stream<int32_t>& headers, Stream<Part>& rotary, Stream<int32_t>& qkv, Stream<Word>& cache,
                   Stream<Part>& kept, Stream<Word>& attended) {
  bool running = true;
PASSES:
  while (running) {
    const Pass pass = ReceivePass(headers);
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
