#pragma once

#include "hls/tiled_candidate_stages.h"
#include "hls/tiled_header.h"
#include "numerics/integer.h"

// The core: residual stream, LayerNorm, and the ring's master: it sends a message to all tiles, or collects one of all
// tiles, whole, before the next. So the ring can't stall, however shallow its streams are. Streams in, streams out.
namespace phidias {
namespace hls {
namespace tiled {

using Residual = int32_t[kLanes][kMaxHidden];
using Message = Word[kLanes * kMaxTileInputs / kWordBytes];

struct NormConstants {
  int32_t gain_shift;
  uint64_t eps_term;
};

PHIDIAS_INLINE NormConstants NormConstantsOf(const Word& word) {
  return {IntAt(word, 0), (static_cast<uint64_t>(Field<32>(word, 2)) << 32) | Field<32>(word, 1)};
}

// Mean and inverse norm of one lane's row, kWordFloats elements a cycle.
inline numerics::NormStatistics Statistics(const int32_t x[kMaxHidden], int32_t n, uint64_t eps_term) {
  const int32_t words = IntWords(n);
  int64_t sum = 0;
SUM:
  for (int32_t w = 0; w < words; ++w) {
    PHIDIAS_PIPELINE(1)
    int64_t part = 0;
  SUM_WORD:
    PHIDIAS_UNROLL_BEFORE
    for (int i = 0; i < kWordFloats; ++i) {
      PHIDIAS_UNROLL
      part += w * kWordFloats + i < n ? x[w * kWordFloats + i] : 0;
    }
    sum += part;
  }
  numerics::NormStatistics row;
  row.mean = numerics::RowMean(sum, n);
  uint64_t squares = eps_term;
SQUARES:
  for (int32_t w = 0; w < words; ++w) {
    PHIDIAS_PIPELINE(1)
    uint64_t part = 0;
  SQUARES_WORD:
    PHIDIAS_UNROLL_BEFORE
    for (int i = 0; i < kWordFloats; ++i) {
      PHIDIAS_UNROLL
      const int64_t d = static_cast<int64_t>(x[w * kWordFloats + i]) - row.mean;
      part += w * kWordFloats + i < n ? static_cast<uint64_t>(d * d) : 0;
    }
    squares += part;
  }
  row.inverse_norm = numerics::InverseSquareRoot(squares);
  return row;
}

// The lanes' rows normalised. kWide: int16, as a word of high and a word of low bytes for each lane (HighPlane,
// LowPlane), and their sums; else int8, a word for each lane. `lanes` says which rows.
//
// One loop takes a quarter of a word of each lane in turn, kWordFloats elements every other cycle: gains and offsets
// come as two words of one stream, and two words of a lane leave.
template <bool kWide>
void Normalize(const Residual& x, const int32_t lanes[kLanes], int32_t count, int32_t n, Stream<Beat>& constants,
               Stream<Beat>& out, int64_t sums[kLanes]) {
  constexpr int32_t kHigh = kWide ? 32767 : 127;
  constexpr int32_t kLow = kWide ? -32767 : -128;
  constexpr int32_t kQuarters = kWordBytes / kWordFloats;
  const NormConstants norm = NormConstantsOf(constants.read().data);
  numerics::NormStatistics rows[kLanes];
  Word high[kLanes];
  Word low[kLanes];
  PHIDIAS_PARTITION(rows)
  PHIDIAS_PARTITION(high)
  PHIDIAS_PARTITION(low)
STATISTICS:
  for (int32_t l = 0; l < count; ++l) {
    rows[l] = Statistics(x[lanes[l]], n, norm.eps_term);
    sums[l] = 0;
    high[l] = 0;
    low[l] = 0;
  }
  Word gains = 0;
  Word offsets = 0;
  int32_t l = 0;
  int32_t quarter = 0;
  const int32_t quarters = ByteWords(n) * kQuarters;
  const int32_t steps = quarters * count;
STEPS:
  for (int32_t step = 0; step < steps; ++step) {
    PHIDIAS_PIPELINE(2)
    const int32_t begin = quarter * kWordFloats;
    const int32_t place = quarter % kQuarters;
    if (l == 0 && begin < n) {
      gains = constants.read().data;
      offsets = constants.read().data;
    }
  CHANNELS:
    PHIDIAS_UNROLL_BEFORE
    for (int i = 0; i < kWordFloats; ++i) {
      PHIDIAS_UNROLL
      if (begin + i < n) {
        const int32_t y = numerics::NormElement(x[lanes[l]][begin + i], rows[l], IntAt(gains, i), norm.gain_shift,
                                                IntAt(offsets, i), kLow, kHigh);
        sums[l] += y;
        SetByte(&high[l], place * kWordFloats + i, static_cast<int8_t>(kWide ? numerics::HighPlane(y) : y));
        SetByte(&low[l], place * kWordFloats + i, static_cast<int8_t>(numerics::LowPlane(y)));
      }
    }
    if (place == kQuarters - 1) {
      out.write(BeatOf(high[l]));
      if (kWide) {
        out.write(BeatOf(low[l]));
      }
      high[l] = 0;
      low[l] = 0;
    }
    if (++l == count) {
      l = 0;
      ++quarter;
    }
  }
}

// --- the ring ---

// All tiles' shares of `share_words` words, of which `quarters` quarters count, one behind the other.
inline void Collect(Stream<Beat>& in, const Pass& pass, int32_t share_words, int32_t quarters, Message& message) {
TILES:
  for (int32_t tile = 0; tile < pass.tiles; ++tile) {
  WORDS:
    for (int32_t w = 0; w < share_words; ++w) {
    LANES:
      for (int32_t lane = 0; lane < pass.tokens; ++lane) {
        PHIDIAS_PIPELINE(1)
        const Word word = in.read().data;
      PARTS:
        PHIDIAS_UNROLL_BEFORE
        for (int q = 0; q < 4; ++q) {
          PHIDIAS_UNROLL
          const int32_t place = tile * quarters + 4 * w + q;
          if (4 * w + q < quarters) {
            Word* const to = &message[place / 4 * pass.tokens + lane];
          FIELDS:
            PHIDIAS_UNROLL_BEFORE
            for (int i = 0; i < 4; ++i) {
              PHIDIAS_UNROLL
              SetField<32>(to, place % 4 * 4 + i, Field<32>(word, 4 * q + i));
            }
          }
        }
      }
    }
  }
}

inline void Broadcast(const Message& message, int32_t words, Stream<Beat>& out) {
BROADCAST:
  for (int32_t w = 0; w < words; ++w) {
    PHIDIAS_PIPELINE(1)
    out.write(BeatOf(message[w]));
  }
}

inline void Forward(Stream<Beat>& in, int32_t words, Stream<Beat>& out) {
FORWARD:
  for (int32_t w = 0; w < words; ++w) {
    PHIDIAS_PIPELINE(1)
    out.write(in.read());
  }
}

// fc2's or dense's rows of all tiles, 16 integers a word: a word a cycle where a tile's rows fill whole words.
inline void CollectRows(Stream<Beat>& in, const Pass& pass, Residual& rows) {
  const int32_t groups = RowGroups(pass.rows);
  const bool whole = pass.rows % kTileRows == 0;
TILES:
  for (int32_t tile = 0; whole && tile < pass.tiles; ++tile) {
  GROUPS:
    for (int32_t g = 0; g < groups; ++g) {
    LANES:
      for (int32_t lane = 0; lane < pass.tokens; ++lane) {
        PHIDIAS_PIPELINE(1)
        const Word word = in.read().data;
      ROWS:
        PHIDIAS_UNROLL_BEFORE
        for (int i = 0; i < kTileRows; ++i) {
          PHIDIAS_UNROLL
          rows[lane][(tile * groups + g) * kTileRows + i] = IntAt(word, i);
        }
      }
    }
  }
ODD_TILES:
  for (int32_t tile = 0; !whole && tile < pass.tiles; ++tile) {
  ODD_GROUPS:
    for (int32_t g = 0; g < groups; ++g) {
    ODD_LANES:
      for (int32_t lane = 0; lane < pass.tokens; ++lane) {
        const Word word = in.read().data;
      ODD_ROWS:
        for (int i = 0; i < kTileRows; ++i) {
          PHIDIAS_PIPELINE(1)
          if (g * kTileRows + i < pass.rows) {
            rows[lane][tile * pass.rows + g * kTileRows + i] = IntAt(word, i);
          }
        }
      }
    }
  }
}

// x += attention + mlp. How many sums had to be clamped.
inline int32_t AddToResidual(const Residual& attention, const Residual& mlp, const Pass& pass, Residual& x) {
  const int32_t words = IntWords(pass.hidden);
  int64_t saturated = 0;
LANES:
  for (int32_t lane = 0; lane < pass.tokens; ++lane) {
  WORDS:
    for (int32_t w = 0; w < words; ++w) {
      PHIDIAS_PIPELINE(1)
    CHANNELS:
      PHIDIAS_UNROLL_BEFORE
      for (int i = 0; i < kWordFloats; ++i) {
        PHIDIAS_UNROLL
        const int32_t at = w * kWordFloats + i;
        if (at < pass.hidden) {
          x[lane][at] = numerics::AddResidual(x[lane][at], attention[lane][at], mlp[lane][at], &saturated);
        }
      }
    }
  }
  return static_cast<int32_t>(saturated);
}

// The pass's embeddings, lane after lane.
inline void LoadResidual(Stream<Beat>& in, const Pass& pass, Residual& x) {
  const int32_t words = FloatWords(pass.hidden);
LANES:
  for (int32_t lane = 0; lane < pass.tokens; ++lane) {
  WORDS:
    for (int32_t w = 0; w < words; ++w) {
      PHIDIAS_PIPELINE(1)
      const Word word = in.read().data;
    CHANNELS:
      PHIDIAS_UNROLL_BEFORE
      for (int i = 0; i < kWordFloats; ++i) {
        PHIDIAS_UNROLL
        if (w * kWordFloats + i < pass.hidden) {
          x[lane][w * kWordFloats + i] = IntAt(word, i);
        }
      }
    }
  }
}

// --- lm_head ---

using Candidates = Candidate[kCandidates];

// A tile's list and what is kept of those before (nothing yet: `first`), both best first, to the best of both: an
// element a cycle, with one comparison. What is left of the tile's list goes.
inline void MergeList(Stream<Beat>& in, const Candidates& kept, bool first, Candidates& merged) {
  const Candidate none = {0.0F, kNoCandidate};
  Word word = 0;
  int words = 0;
  int next = kCandidatesPerWord;  // of the word's
  int kept_at = 0;
MERGE:
  for (int i = 0; i < kCandidates; ++i) {
    PHIDIAS_PIPELINE(1)
    if (next == kCandidatesPerWord) {
      word = in.read().data;
      ++words;
      next = 0;
    }
    const Candidate newcomer = CandidateAt(word, next);
    const Candidate old = first ? none : kept[kept_at];
    if (Better(newcomer, old)) {
      merged[i] = newcomer;
      ++next;
    } else {
      merged[i] = old;
      ++kept_at;
    }
  }
LEFT:
  for (int w = words; w < kCandidateWords; ++w) {
    in.read();
  }
}

// The tiles' best logits of a sweep to the best of all.
inline void MergeCandidates(Stream<Beat>& in, const Pass& pass, int32_t rows, Stream<Beat>& out) {
  Candidates lists[2][kHeadRows];  // what a tile adds to, and what comes of it, in turn
  PHIDIAS_STORAGE(lists, ram_2p, lutram)
TILES:
  for (int32_t tile = 0; tile < pass.tiles; ++tile) {
  ROWS:
    for (int32_t r = 0; r < rows; ++r) {
      MergeList(in, lists[tile & 1][r], tile == 0, lists[(tile + 1) & 1][r]);
    }
  }
WRITE:
  for (int32_t r = 0; r < rows; ++r) {
    Word word = 0;
  WRITE_PAIRS:
    for (int i = 0; i < kCandidates; ++i) {
      PHIDIAS_PIPELINE(1)
      MoveIn(lists[pass.tiles & 1][r][i], &word);
      if (i % kCandidatesPerWord == kCandidatesPerWord - 1) {
        out.write(BeatOf(word));
      }
    }
  }
}

// The rows of the residual stream whose logits are wanted through lm_head.
inline void RunHead(const Residual& x, const Pass& pass, Stream<Beat>& tables, Stream<Beat>& ring_in,
                    Stream<Beat>& ring_out, Stream<Beat>& results) {
  int32_t next = 0;  // lane to look at
  const int32_t sweeps = Sweeps(pass);
SWEEPS:
  for (int32_t s = 0; s < sweeps; ++s) {
    const int32_t rows = SweepRows(pass, s);
    int32_t lanes[kLanes] = {};
    int32_t found = 0;
  FIND:
    for (int i = 0; i < kLanes; ++i) {
      if (found < rows && next < kLanes) {
        if (((pass.logit_mask >> next) & 1) != 0) {
          lanes[found++] = next;
        }
        ++next;
      }
    }
    int64_t sums[kLanes];
    Normalize<true>(x, lanes, rows, pass.hidden, tables, ring_out, sums);
    Word word = 0;
  SUMS:
    for (int32_t r = 0; r < rows; ++r) {
      const uint64_t offset = static_cast<uint64_t>(sums[r] * 128);
      SetInt(&word, 2 * r, static_cast<int32_t>(offset));
      SetInt(&word, 2 * r + 1, static_cast<int32_t>(offset >> 32));
    }
    ring_out.write(BeatOf(word));
    if (pass.best) {
      MergeCandidates(ring_in, pass, rows, results);
    } else {
      Forward(ring_in, pass.tiles * RowGroups(pass.head_rows) * rows, results);
    }
  }
}

// One pass: rotary rows, embeddings and the norms' constants come in `tables`. Then a word with the number of clamped
// residuals ends the results.
inline void RunPass(const Pass& pass, Stream<Beat>& tables, Stream<Beat>& ring_in, Stream<Beat>& ring_out,
                    Stream<Beat>& results) {
  Residual x;
  Residual mlp;
  Residual attention;
  PHIDIAS_PARTITION_COLUMNS(x, kWordFloats)
  PHIDIAS_PARTITION_COLUMNS(mlp, kWordFloats)
  PHIDIAS_PARTITION_COLUMNS(attention, kWordFloats)
  Message message;
  int32_t lanes[kLanes];
  int64_t unused[kLanes];
NUMBER:
  for (int l = 0; l < kLanes; ++l) {
    lanes[l] = l;
  }
  int32_t saturated = 0;
  Forward(tables, RotaryWords(pass.rotary_dim) * pass.tokens, ring_out);
  LoadResidual(tables, pass, x);
LAYERS:
  for (int32_t layer = 0; layer < pass.layers; ++layer) {
    Normalize<false>(x, lanes, pass.tokens, pass.hidden, tables, ring_out, unused);
    Collect(ring_in, pass, pass.mlp_slice_words, Quarters(pass.mlp_rows), message);
    Broadcast(message, pass.mlp_words * pass.tokens, ring_out);
    Collect(ring_in, pass, pass.slice_words, Quarters(pass.rows), message);
    Broadcast(message, pass.slices_words * pass.tokens, ring_out);
    CollectRows(ring_in, pass, mlp);
    CollectRows(ring_in, pass, attention);
    saturated += AddToResidual(attention, mlp, pass, x);
  }
  RunHead(x, pass, tables, ring_in, ring_out, results);
  Word status = 0;
  SetInt(&status, 0, saturated);
  results.write(BeatOf(status));
}

inline void RunCore(Stream<Beat>& tables, Stream<Beat>& ring_in, Stream<Beat>& ring_out, Stream<Beat>& results) {
  bool running = true;
PASSES:
  while (running) {
    const Pass pass = ReceivePass(tables);
    running = pass.opcode != kStop;
    if (running) {
      RunPass(pass, tables, ring_in, ring_out, results);
    }
  }
}

}  // namespace tiled
}  // namespace hls
}  // namespace phidias
