#pragma once

#include <cstdint>

#include "ref/integer_ops.h"

namespace phidias::cpu {

// Where elements of an int8 KV cache lie, so that products of neighbouring int8 values can be summed without shuffles:
// keys [position / 16][element / 4][position % 16][element % 4], values [position / 2][element][position % 2]; elements
// of the head are filled up with zeros to 4 (keys) or 16 (values).
inline constexpr int64_t kKeyBlock = 16;

constexpr int64_t KeyDim(int64_t head_dim) {
  return (head_dim + 3) / 4 * 4;
}
constexpr int64_t ValueDim(int64_t head_dim) {
  return (head_dim + 15) / 16 * 16;
}
constexpr int64_t KeyIndex(int64_t position, int64_t element, int64_t head_dim) {
  return position / kKeyBlock * kKeyBlock * KeyDim(head_dim) + element / 4 * 4 * kKeyBlock + position % kKeyBlock * 4 +
         element % 4;
}
constexpr int64_t ValueIndex(int64_t position, int64_t element, int64_t head_dim) {
  return position / 2 * 2 * ValueDim(head_dim) + 2 * element + position % 2;
}
constexpr int64_t PaddedPositions(int64_t count) {
  return (count + kKeyBlock - 1) / kKeyBlock * kKeyBlock;
}

// Probabilities by their steps of the exponent, 0..kProbabilitySteps; the last entry, 0, stands for all larger steps.
// One lookup then takes the place of numerics::Probability's table, shift and rounding.
inline constexpr int64_t kProbabilitySteps = int64_t{13} << numerics::kExpFractionBits;

inline void MakeProbabilityTable(const int32_t* exp_table, int16_t* table) {
  for (int32_t steps = 0; steps <= kProbabilitySteps; ++steps) {
    table[steps] = static_cast<int16_t>(numerics::Probability(steps, {1 << 30, 30}, exp_table));
  }
}

// One query row of one head over positions 0..count-1.
struct AttentionRowS8 {
  const int8_t* q = nullptr;  // [head_dim], rotated
  int64_t count = 0;
  const ref::AttentionConstants* constants = nullptr;
  int8_t* out = nullptr;  // [head_dim]
};

// Query rows of one sequence that share a KV head: each is ref::AttentionHeadS8. Whole blocks of keys and pairs of
// values are read; what lies behind the last position doesn't matter.
struct AttentionS8Args {
  const AttentionRowS8* rows = nullptr;
  int64_t row_count = 0;
  const int8_t* keys = nullptr;
  const int8_t* values = nullptr;
  int64_t head_dim = 0;
  const int16_t* probability_table = nullptr;  // [kProbabilitySteps + 1], of the rows' exp_table
  int32_t* scratch = nullptr;                  // AttentionS8Scratch integers
};

// Rows that a kernel takes through keys and values together.
inline constexpr int64_t kAttentionRowsS8 = 4;

// q, scores, probabilities and sums of kAttentionRowsS8 rows.
constexpr int64_t AttentionS8Scratch(int64_t positions, int64_t head_dim) {
  return kAttentionRowsS8 * (2 * PaddedPositions(positions) + 2 * ValueDim(head_dim));
}

}  // namespace phidias::cpu
