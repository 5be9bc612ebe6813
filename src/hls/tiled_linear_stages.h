#pragma once

#include "hls/tiled_header.h"
#include "numerics/integer.h"

// A tile's linear layers: the MAC array and what makes grids of its sums. Streams in, streams out. In all streams of
// activations, words of the lanes in use take turns: word 0 of each lane, word 1 of each lane, ...
namespace phidias {
namespace hls {
namespace tiled {

// Two lanes share a memory, one behind the other: it has two ports, and a cycle reads one part of each lane.
static constexpr int kLaneParts = kMaxTileInputs / kPartBytes;
static constexpr int kBeatsPerPart = kPartBytes / kTileInputs;
using Inputs = Part[kLanes / 2][2 * kLaneParts];

PHIDIAS_INLINE int32_t SignedByte(uint32_t bytes, int index) {
  return static_cast<int8_t>(bytes >> (8 * index));
}

// Four products each of two lanes that share their weights: one multiplier takes both, 18 bits apart (a DSP48E2 has 27
// x 18 bits). Four products of the lower lane stay within its field, so the fields are split after the sum.
PHIDIAS_INLINE void DotPair(uint32_t weights, uint32_t inputs0, uint32_t inputs1, int32_t* sum0, int32_t* sum1) {
  constexpr int kField = 18;
  static_assert(kTileInputs * 128 * 128 < 1 << (kField - 1), "the lower lane's sum stays within its field");
  int64_t sum = 0;
PRODUCTS:
  PHIDIAS_UNROLL_BEFORE
  for (int i = 0; i < kTileInputs; ++i) {
    PHIDIAS_UNROLL
    const int32_t pair = SignedByte(inputs1, i) * (1 << kField) + SignedByte(inputs0, i);
    sum += static_cast<int64_t>(pair) * SignedByte(weights, i);
  }
  const int64_t half = 1 << (kField - 1);
  const int64_t low = ((sum + half) & ((1 << kField) - 1)) - half;
  *sum0 += static_cast<int32_t>(low);
  *sum1 += static_cast<int32_t>((sum - low) >> kField);
}

// `words` words for each lane, part by part.
inline void LoadInputs(Stream<Part>& in, int32_t words, int32_t lanes, Inputs& x) {
  const int32_t steps = Times(words, lanes) * kParts;
  int32_t first = 0;  // part of the words that come in turn
  int32_t lane = 0;
  int32_t part = 0;
LOAD:
  for (int32_t step = 0; step < steps; ++step) {
    PHIDIAS_PIPELINE(1)
    x[lane / 2][lane % 2 * kLaneParts + first + part] = in.read();
    if (++part == kParts) {
      part = 0;
      if (++lane == lanes) {
        lane = 0;
        first += kParts;
      }
    }
  }
}

// Four 4-bit weights of a row's eight in a beat, the first or the second four, as bytes.
PHIDIAS_INLINE uint32_t BytesOfI4(uint32_t weights, int second) {
  const uint32_t four = second != 0 ? weights >> 16 : weights;
  uint32_t bytes = 0;
NIBBLES:
  PHIDIAS_UNROLL_BEFORE
  for (int i = 0; i < kTileInputs; ++i) {
    PHIDIAS_UNROLL
    const int8_t high = static_cast<int8_t>(four >> (4 * i) << 4);
    bytes |= static_cast<uint32_t>(static_cast<uint8_t>(high >> 4)) << (8 * i);
  }
  return bytes;
}

using LaneSums = int32_t[kLanes][kTileRows];

inline void ClearSums(LaneSums& sums) {
CLEAR:
  PHIDIAS_UNROLL_BEFORE
  for (int lane = 0; lane < kLanes; ++lane) {
    PHIDIAS_UNROLL
  CLEAR_ROWS:
    PHIDIAS_UNROLL_BEFORE
    for (int row = 0; row < kTileRows; ++row) {
      PHIDIAS_UNROLL
      sums[lane][row] = 0;
    }
  }
}

// How the array's two halves, each 16 rows x 4 inputs x a pair of lanes, share a beat: of int8, four inputs, a half for
// each pair of lanes; of 4 bits, eight inputs, a half for each four where one pair is in use (`joined`), and otherwise
// four inputs a cycle, `second` in the second one, as int8.
struct BeatUse {
  int32_t four;  // the first half's four inputs, counted from the row's begin
  bool int4;
  bool joined;
  bool second;
};

// A cycle of the array.
PHIDIAS_INLINE void MultiplyBeat(const Inputs& x, const Word& beat, const BeatUse& use, int32_t lanes, LaneSums& sums) {
  const int32_t part = use.four / kBeatsPerPart;
  const int32_t field = use.four % kBeatsPerPart;
  Part parts[kLanes];
  PHIDIAS_PARTITION(parts)
PARTS:
  PHIDIAS_UNROLL_BEFORE
  for (int lane = 0; lane < kLanes; ++lane) {
    PHIDIAS_UNROLL
    parts[lane] = x[lane / 2][lane % 2 * kLaneParts + part];
  }
HALVES:
  PHIDIAS_UNROLL_BEFORE
  for (int half = 0; half < 2; ++half) {
    PHIDIAS_UNROLL
    if (half == 0 || use.joined || lanes > 2) {
      const int pair = use.joined ? 0 : half;
      const int32_t own_field = use.joined ? field + half : field;
      const uint32_t inputs0 = Field<32>(parts[2 * pair], own_field);
      const uint32_t inputs1 = Field<32>(parts[2 * pair + 1], own_field);
      const int second = use.joined ? half : (use.second ? 1 : 0);
    ROWS:
      PHIDIAS_UNROLL_BEFORE
      for (int row = 0; row < kTileRows; ++row) {
        PHIDIAS_UNROLL
        const uint32_t weights = Field<32>(beat, row);
        DotPair(use.int4 ? BytesOfI4(weights, second) : weights, inputs0, inputs1, &sums[2 * pair][row],
                &sums[2 * pair + 1][row]);
      }
    }
  }
}

// What a unit's sums are scaled by and where they go: kScaleRows rows of a lane a cycle, while the array has the next
// unit.
static constexpr int kLaneSteps = kTileRows / kScaleRows;
struct UnitScaler {
  LaneSums unit;
  uint8_t multipliers[kTileRows];
  int32_t step;  // of ScaleSteps; that many: all done
  bool first;    // of a group's units
};
using ScaledSums = int32_t[kLanes * kLaneSteps][kScaleRows];

PHIDIAS_INLINE int32_t ScaleSteps(int32_t lanes) {
  return lanes * kLaneSteps;
}

// A unit of -8..7 times int8 has sums of 17 bits.
PHIDIAS_INLINE void TakeUnit(const LaneSums& sums, const Word& multipliers, int32_t index, UnitScaler* scaler) {
  static_assert(kUnitInputs * 8 * 128 < 1 << 17, "a unit's sum has 18 bits: a product with a multiplier takes one DSP");
LANES:
  PHIDIAS_UNROLL_BEFORE
  for (int lane = 0; lane < kLanes; ++lane) {
    PHIDIAS_UNROLL
  ROWS:
    PHIDIAS_UNROLL_BEFORE
    for (int row = 0; row < kTileRows; ++row) {
      PHIDIAS_UNROLL
      scaler->unit[lane][row] = static_cast<int32_t>(static_cast<uint32_t>(sums[lane][row]) << 14) >> 14;
    }
  }
MULTIPLIERS:
  PHIDIAS_UNROLL_BEFORE
  for (int row = 0; row < kTileRows; ++row) {
    PHIDIAS_UNROLL
    scaler->multipliers[row] = static_cast<uint8_t>(Field<8>(multipliers, index * kTileRows + row) & 63u);
  }
  scaler->step = 0;
}

PHIDIAS_INLINE void ScaleRows(UnitScaler* scaler, ScaledSums& scaled) {
  const int32_t lane = scaler->step / kLaneSteps;
  const int32_t first = scaler->step % kLaneSteps * kScaleRows;
ROWS:
  PHIDIAS_UNROLL_BEFORE
  for (int i = 0; i < kScaleRows; ++i) {
    PHIDIAS_UNROLL
    const int32_t before = scaler->first ? 0 : scaled[scaler->step][i];
    scaled[scaler->step][i] = before + scaler->unit[lane][first + i] * scaler->multipliers[first + i];
  }
  ++scaler->step;
}

inline void SendSums(const LaneSums& sums, const ScaledSums& scaled, bool int4, int32_t lanes, Stream<Word>& out) {
WRITE:
  for (int32_t lane = 0; lane < lanes; ++lane) {
    Word word = 0;
  WRITE_ROWS:
    PHIDIAS_UNROLL_BEFORE
    for (int row = 0; row < kTileRows; ++row) {
      PHIDIAS_UNROLL
      SetInt(&word, row, int4 ? scaled[lane * kLaneSteps + row / kScaleRows][row % kScaleRows] : sums[lane][row]);
    }
    out.write(word);
  }
}

// 16 rows against every lane: one word of sums per lane. One loop for both kinds of weights: they share the
// multipliers. Of 4 bits a word of multipliers comes before each block of beats, and the sums of every unit go through
// the scaler.
inline void MultiplyGroup(const Inputs& x, Stream<Word>& weights, int32_t words, int32_t lanes, bool int4,
                          Stream<Word>& sums_out) {
  LaneSums sums;
  UnitScaler scaler;
  ScaledSums scaled;
  PHIDIAS_PARTITION(sums)
  PHIDIAS_PARTITION(scaler.unit)
  PHIDIAS_PARTITION(scaler.multipliers)
  PHIDIAS_PARTITION_LANES(scaled)
  PHIDIAS_STORAGE(scaled, ram_2p, lutram)
  ClearSums(sums);
  scaler.first = true;
  scaler.step = ScaleSteps(lanes);
  const bool twice = int4 && lanes > 2;  // each beat for two cycles
  const int32_t beats = WeightBeats(words, int4);
  const int32_t steps = WeightWords(words, int4) + (twice ? beats : 0) + (int4 ? ScaleSteps(lanes) : 0);
  Word beat = 0;
  Word multipliers = 0;
  bool block_begins = int4;
  bool second = false;
  int32_t b = 0;
STEPS:
  for (int32_t step = 0; step < steps; ++step) {
    PHIDIAS_PIPELINE(1)
    PHIDIAS_DISTANCE(scaled, 4)
    if (scaler.step < ScaleSteps(lanes)) {
      ScaleRows(&scaler, scaled);
    }
    if (b < beats && block_begins) {
      multipliers = weights.read();
      block_begins = false;
    } else if (b < beats) {
      if (!second) {
        beat = weights.read();
      }
      const int32_t four = int4 ? 2 * b + (second ? 1 : 0) : b;
      MultiplyBeat(x, beat, {four, int4, int4 && !twice, second}, lanes, sums);
      second = twice && !second;
      b += second ? 0 : 1;
      if (int4 && !second && b % kUnitBeats == 0) {
        scaler.first = b == kUnitBeats;
        TakeUnit(sums, multipliers, (b - 1) / kUnitBeats % kBlockUnits, &scaler);
        ClearSums(sums);
        block_begins = b % kBlockBeats == 0;
      }
    }
  }
  SendSums(sums, scaled, int4, lanes, sums_out);
}

inline void MultiplyLinear(const Inputs& x, Stream<Word>& weights, int32_t groups, int32_t words, int32_t lanes,
                           bool int4, Stream<Word>& sums_out) {
GROUPS:
  for (int32_t g = 0; g < groups; ++g) {
    MultiplyGroup(x, weights, words, lanes, int4, sums_out);
  }
}

// The MAC array: all of a pass's products in the weights' order.
inline void Multiply(Stream<int32_t>& headers, Stream<Part>& inputs, Stream<Word>& weights, Stream<Word>& sums_out) {
  Inputs x;
  PHIDIAS_PARTITION_ROWS(x)
  PHIDIAS_STORAGE(x, ram_t2p, uram)
  bool running = true;
PASSES:
  while (running) {
    const Pass pass = ReceivePass(headers);
    running = pass.opcode != kStop;
    const int32_t layers = running ? pass.layers : 0;
    const int32_t groups = RowGroups(pass.rows);
  LAYERS:
    for (int32_t layer = 0; layer < layers; ++layer) {
      LoadInputs(inputs, pass.hidden_words, pass.tokens, x);
      MultiplyLinear(x, weights, 3 * groups + RowGroups(pass.mlp_rows), pass.hidden_words, pass.tokens, pass.int4,
                     sums_out);
      LoadInputs(inputs, pass.mlp_words, pass.tokens, x);
      MultiplyLinear(x, weights, groups, pass.mlp_words, pass.tokens, pass.int4, sums_out);
      LoadInputs(inputs, pass.slices_words, pass.tokens, x);
      MultiplyLinear(x, weights, groups, pass.slices_words, pass.tokens, pass.int4, sums_out);
    }
    const int32_t sweeps = running ? Sweeps(pass) : 0;
  SWEEPS:
    for (int32_t s = 0; s < sweeps; ++s) {
      const int32_t lanes = 2 * SweepRows(pass, s);
      LoadInputs(inputs, pass.hidden_words, lanes, x);
      MultiplyLinear(x, weights, Times(RowGroups(pass.head_rows), pass.planes), pass.hidden_words, lanes, false,
                     sums_out);
    }
  }
}

// --- grids ---

// A linear layer's output grid.
struct OutputGrid {
  int32_t zero_point;
  int32_t low;
  int32_t high;
};
// What 16 rows are requantised by.
struct RowFactors {
  Word bias;
  Word multiplier;
  Word shift;
};

PHIDIAS_INLINE OutputGrid ReadGrid(Stream<Word>& factors) {
  const Word word = factors.read();
  return {IntAt(word, 0), IntAt(word, 1), IntAt(word, 2)};
}
PHIDIAS_INLINE RowFactors ReadFactors(Stream<Word>& factors) {
  RowFactors rows;
  rows.bias = factors.read();
  rows.multiplier = factors.read();
  rows.shift = factors.read();
  return rows;
}

PHIDIAS_INLINE int32_t RequantizeRow(const Word& sums, const RowFactors& rows, const OutputGrid& grid, int row) {
  return numerics::RequantizeAcc(IntAt(sums, row), IntAt(rows.bias, row),
                                 {IntAt(rows.multiplier, row), IntAt(rows.shift, row)}, grid.zero_point, grid.low,
                                 grid.high);
}

// What becomes of a linear layer's rows: q, k and v go to the attention one by one; fc1's go through the table to fc2's
// grid, bytes, 64 to a word, zeros filling up the last one; fc2's and dense's fill words of 16 integers.
enum Rows { kRowsToAttention, kRowsThroughGelu, kRowsToRing };

inline void LoadGeluTable(Stream<Word>& factors, int8_t table[256]) {
TABLE_WORDS:
  for (int w = 0; w < kGeluTableWords; ++w) {
    const Word word = factors.read();
  TABLE:
    for (int i = 0; i < kWordBytes; ++i) {
      PHIDIAS_PIPELINE(1)
      table[w * kWordBytes + i] = ByteAt(word, i);
    }
  }
}

// Bytes of the lanes' words, part by part.
using LaneParts = Part[kLanes * kParts];

// The last lanes' words that are full, or the last ones: then the parts that nothing came for are zero.
inline void SendLaneParts(const LaneParts& parts, int32_t lanes, int filled, Stream<Part>& out) {
LANES:
  for (int32_t lane = 0; lane < lanes; ++lane) {
  PARTS:
    for (int p = 0; p < kParts; ++p) {
      PHIDIAS_PIPELINE(1)
      out.write(p < filled ? parts[lane * kParts + p] : Part(0));
    }
  }
}

// A row a cycle, whatever becomes of it: one multiplier of 32 bits for all linear layers. Words leave in parts, each
// gathered field by field, and a field byte by byte.
inline void RequantizeLinear(Stream<Word>& sums, Stream<Word>& factors, int32_t groups, int32_t lanes, Rows rows_are,
                             Stream<int32_t>& qkv, Stream<Part>& out) {
  static_assert(kPartBytes == kTileRows, "a group's bytes fill a part");
  const bool bytes = rows_are == kRowsThroughGelu;
  int8_t table[256];
  if (bytes) {
    LoadGeluTable(factors, table);
  }
  const OutputGrid grid = ReadGrid(factors);
  LaneParts parts;
  PHIDIAS_STORAGE(parts, ram_2p, lutram)
GROUPS:
  for (int32_t g = 0; g < groups; ++g) {
    const RowFactors rows = ReadFactors(factors);
    const int filled = g % kParts + 1;
  LANES:
    for (int32_t lane = 0; lane < lanes; ++lane) {
      const Word acc = sums.read();
      Part part = 0;
      uint32_t field = 0;
    ROWS:
      for (int row = 0; row < kTileRows; ++row) {
        PHIDIAS_PIPELINE(1)
        const int32_t value = RequantizeRow(acc, rows, grid, row);
        if (rows_are == kRowsToAttention) {
          qkv.write(value);
        } else {
          const bool fourth = row % kPartFields == kPartFields - 1;
          const uint32_t byte = bytes ? static_cast<uint8_t>(table[value + 128]) : 0U;
          field = bytes ? (field >> 8) | (byte << 24) : static_cast<uint32_t>(value);
          if (!bytes || fourth) {
            MoveInField(field, &part);
          }
          if (!bytes && fourth) {
            out.write(part);
          }
        }
      }
      if (bytes) {
        parts[lane * kParts + filled - 1] = part;
      }
    }
    if (bytes && (filled == kParts || g == groups - 1)) {
      SendLaneParts(parts, lanes, filled, out);
    }
  }
}

template <int kWidth>
PHIDIAS_INLINE int64_t LongAt(const ap_uint<kWidth>& word, int lane) {
  return static_cast<int64_t>((static_cast<uint64_t>(Field<32>(word, 2 * lane + 1)) << 32) | Field<32>(word, 2 * lane));
}

// lm_head's sums of int8 planes to float32 logits. The input is 256 * high + low + 128 in two lanes, the weight is
// 256 * high + low + 128 in two planes, or one plane alone; what the 128 of the weight's plane and the row's own bias
// add is in `bias`, 128 * sum_k x comes with the inputs (`input_sums`, a 64-bit integer per row).
inline void RequantizeHead(Stream<Word>& sums, Stream<Word>& factors, int32_t groups, int32_t rows, int32_t planes,
                           const Part& input_sums, Stream<Part>& out) {
GROUPS:
  for (int32_t g = 0; g < groups; ++g) {
    const Word bias0 = factors.read();
    const Word bias1 = factors.read();
    const Word scales = factors.read();
    int64_t acc[kHeadRows][kTileRows];
  PLANES:
    for (int32_t plane = 0; plane < planes; ++plane) {
    INPUTS:
      for (int32_t r = 0; r < rows; ++r) {
        const int64_t offset = planes == 2 && plane == 1 ? LongAt(input_sums, r) : 0;
      HALVES:
        for (int low = 0; low < 2; ++low) {
          const Word word = sums.read();
        ROWS:
          for (int row = 0; row < kTileRows; ++row) {
            PHIDIAS_PIPELINE(1)
            const int64_t before = plane == 0 && low == 0 ? 0 : acc[r][row];
            // 256 * (before + high), then + low.
            acc[r][row] = low == 0 ? (before + IntAt(word, row)) * 256 : before + IntAt(word, row) + offset;
          }
        }
      }
    }
  LOGITS:
    for (int32_t r = 0; r < rows; ++r) {
      Part part = 0;
    LOGIT_ROWS:
      for (int row = 0; row < kTileRows; ++row) {
        PHIDIAS_PIPELINE(1)
        const int64_t bias = row < kTileRows / 2 ? LongAt(bias0, row) : LongAt(bias1, row - kTileRows / 2);
        MoveInField(numerics::BitsOf(numerics::Logit(acc[r][row], bias, FloatAt(scales, row))), &part);
        if (row % kPartFields == kPartFields - 1) {
          out.write(part);
        }
      }
    }
  }
}

// Everything that the MAC array leaves: q, k, v to the attention, the others to the ring.
inline void Requantize(Stream<int32_t>& headers, Stream<Word>& sums, Stream<Word>& factors, Stream<Part>& input_sums,
                       Stream<int32_t>& qkv, Stream<Part>& results) {
  constexpr int kLinears = 6;  // of a layer: q, k, v, fc1, fc2, dense
  bool running = true;
PASSES:
  while (running) {
    const Pass pass = ReceivePass(headers);
    running = pass.opcode != kStop;
    const int32_t layers = running ? pass.layers : 0;
  LAYERS:
    for (int32_t layer = 0; layer < layers; ++layer) {
    LINEARS:
      for (int i = 0; i < kLinears; ++i) {
        const Rows rows_are = i < 3 ? kRowsToAttention : (i == 3 ? kRowsThroughGelu : kRowsToRing);
        RequantizeLinear(sums, factors, RowGroups(i == 3 ? pass.mlp_rows : pass.rows), pass.tokens, rows_are, qkv,
                         results);
      }
    }
    const int32_t sweeps = running ? Sweeps(pass) : 0;
  SWEEPS:
    for (int32_t s = 0; s < sweeps; ++s) {
      const Part row_sums = input_sums.read();
      RequantizeHead(sums, factors, RowGroups(pass.head_rows), SweepRows(pass, s), pass.planes, row_sums, results);
    }
  }
}

}  // namespace tiled
}  // namespace hls
}  // namespace phidias
