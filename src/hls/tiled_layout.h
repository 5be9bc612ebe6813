#pragma once

#include "hls/tiled_plan.h"
#include "numerics/int4.h"

// How a model's data lies in the channels of the design `tiled`: packers for whoever fills them. For hosts and tests,
// not for synthesis. What comes where: hls/tiled_plan.h.
namespace phidias {
namespace hls {
namespace tiled {

// Columns of a weight matrix as the inputs cross the ring: `shares` shares of `share` columns, each padded to whole
// quarters of a word.
struct Columns {
  int32_t shares;
  int32_t share;
  int32_t count;  // columns of the matrix, at most shares * share

  int32_t words() const { return SharesWords(shares, share); }
  // The matrix's column at a padded place, or -1.
  int32_t At(int32_t place) const {
    const int32_t width = Quarters(share) * kQuarterBytes;
    const int32_t column = place / width * share + place % width;
    return place / width < shares && place % width < share && column < count ? column : -1;
  }
};

// 16 rows (null: zeros) to beats of 16 rows x 4 inputs: columns.words() * kBeatsPerWord beats at `out`.
inline void PackRowGroup(const int8_t* const rows[kTileRows], const Columns& columns, int8_t* out) {
  const int32_t beats = columns.words() * kBeatsPerWord;
  for (int32_t b = 0; b < beats; ++b) {
    for (int i = 0; i < kTileInputs; ++i) {
      const int32_t column = columns.At(b * kTileInputs + i);
      for (int r = 0; r < kTileRows; ++r) {
        out[(int64_t{b} * kTileRows + r) * kTileInputs + i] =
            column < 0 || rows[r] == nullptr ? static_cast<int8_t>(0) : rows[r][column];
      }
    }
  }
}

// 4-bit weights of a matrix (numerics/int4.h): rows of packed values, and of the groups' multipliers.
struct I4Rows {
  const uint8_t* packed;  // rows of `row_bytes`
  int64_t row_bytes;
  const uint8_t* multipliers;  // rows of `groups`
  int64_t groups;
  int32_t group;  // inputs that share one: a multiple of kUnitInputs

  uint8_t Nibble(int64_t row, int32_t column) const {  // two's complement
    const int32_t q = numerics::UnpackI4(packed[row * row_bytes + column / 2], column);
    return static_cast<uint8_t>(q & 15);
  }
  uint8_t Multiplier(int64_t row, int32_t column) const { return multipliers[row * groups + column / group]; }
};

// Whether each unit's inputs lie in one group, wherever it begins: no share is padded but the last.
inline bool UnitsFit(const Columns& columns) {
  return columns.shares == 1 || columns.share % kQuarterBytes == 0;
}

// 16 rows (-1: zeros) to blocks of a word of multipliers and 16 beats of 16 rows x 8 inputs: WeightWords words at
// `out`. UnitsFit(columns).
inline void PackI4RowGroup(const I4Rows& matrix, const int64_t rows[kTileRows], const Columns& columns, uint8_t* out) {
  const int32_t beats = WeightBeats(columns.words(), true);
  for (int32_t b = 0; b < beats; ++b) {
    if (b % kBlockBeats == 0) {
      for (int32_t at = 0; at < kWordBytes; ++at) {
        const int32_t column = columns.At((b + at / kTileRows * kUnitBeats) * kI4Inputs);
        const int64_t row = rows[at % kTileRows];
        out[at] = column < 0 || row < 0 ? static_cast<uint8_t>(0) : matrix.Multiplier(row, column);
      }
      out += kWordBytes;
    }
    for (int at = 0; at < kWordBytes; ++at) {
      const int64_t row = rows[at / kTileInputs];
      const int32_t place = b * kI4Inputs + at % kTileInputs * 2;
      const int32_t low = columns.At(place);
      const int32_t high = columns.At(place + 1);
      out[at] = static_cast<uint8_t>((low < 0 || row < 0 ? 0 : matrix.Nibble(row, low)) |
                                     (high < 0 || row < 0 ? 0 : matrix.Nibble(row, high) << 4));
    }
    out += kWordBytes;
  }
}

// A linear layer of a tile. Arrays of factors as ref::RequantizeConstants; rows past the matrix's end are null.
struct TileLinear {
  const int8_t* weight;  // [n, columns.count], or null
  const I4Rows* int4;    // in its place
  const int32_t* bias;
  const int32_t* multiplier;
  const int32_t* shift;
  int32_t zero_point;
  int32_t low;
  int32_t high;
  int32_t first_row;
  int32_t rows;      // of the tile, past the matrix's end included
  int32_t all_rows;  // of the matrix
};

// LinearWords(rows, columns.words(), int4 != nullptr) words at `out`. Returns the place behind them.
inline int32_t* PackTileLinear(const TileLinear& linear, const Columns& columns, int32_t* out) {
  for (int i = 0; i < kWordFloats; ++i) {
    out[i] = i == 0 ? linear.zero_point : (i == 1 ? linear.low : (i == 2 ? linear.high : 0));
  }
  out += kWordFloats;
  for (int32_t g = 0; g < RowGroups(linear.rows); ++g) {
    const int8_t* rows[kTileRows];
    int64_t indices[kTileRows];
    for (int r = 0; r < kTileRows; ++r) {
      const int32_t within = g * kTileRows + r;
      const int32_t row = linear.first_row + within;
      const bool there = within < linear.rows && row < linear.all_rows;
      indices[r] = there ? row : -1;
      rows[r] = there && linear.int4 == nullptr ? linear.weight + int64_t{row} * columns.count : nullptr;
      out[r] = there ? linear.bias[row] : 0;
      out[kTileRows + r] = there ? linear.multiplier[row] : 0;
      out[2 * kTileRows + r] = there ? linear.shift[row] : 1;
    }
    out += kFactorWords * kWordFloats;
    if (linear.int4 != nullptr) {
      PackI4RowGroup(*linear.int4, indices, columns, reinterpret_cast<uint8_t*>(out));
    } else {
      PackRowGroup(rows, columns, reinterpret_cast<int8_t*>(out));
    }
    out += WeightWords(columns.words(), linear.int4 != nullptr) * kWordFloats;
  }
  return out;
}

}  // namespace tiled
}  // namespace hls
}  // namespace phidias
