#pragma once

#include <cstddef>
#include <cstdint>

#include "common/dtype.h"

namespace phidias::cpu {

// One query row of one head over positions 0..count-1 of its sequence.
struct AttentionRow {
  const float* q = nullptr;  // [head_dim], rotated
  int64_t count = 0;
  float* out = nullptr;  // [head_dim]
};

// Query rows of one sequence that share a KV head: each is ref::AttentionHead of its own, whatever the others are.
struct AttentionArgs {
  const AttentionRow* rows = nullptr;
  int64_t row_count = 0;
  DType kv_dtype = DType::kF32;       // or kF16
  const std::byte* keys = nullptr;    // [positions, head_dim], rotated
  const std::byte* values = nullptr;  // [positions, head_dim]
  int64_t head_dim = 0;
  float scale = 0;           // 1 / sqrt(head_dim), multiplied into q first
  float* scratch = nullptr;  // AttentionScratch(row_count, largest count, head_dim) floats
};

// Rows that a kernel takes through keys and values together; more only cost scratch.
inline constexpr int64_t kAttentionRows = 8;

constexpr int64_t PaddedLanes(int64_t count) {
  return (count + 15) / 16 * 16;
}

// Scores of every row, and the rows' q after scaling.
constexpr int64_t AttentionScratch(int64_t rows, int64_t positions, int64_t head_dim) {
  return rows * (PaddedLanes(positions) + PaddedLanes(head_dim));
}

}  // namespace phidias::cpu
