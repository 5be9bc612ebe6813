#pragma once

#include <cstdint>

#include "hls/design.h"

// Cycles that the kernels take by their loops: every pipelined loop starts an iteration each interval, stages of a
// dataflow region run side by side, memory keeps up. What a loop nest costs beyond that (filling and emptying
// pipelines, bursts' latency, a kernel's start) is left out, so these are lower bounds. Modelled, not measured.
namespace phidias {
namespace hls {

namespace cycles {

constexpr int64_t Ceil(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}
constexpr int64_t Max(int64_t a, int64_t b) {
  return a > b ? a : b;
}

}  // namespace cycles

// A step is units_per_bank products of each bank. Phi-2's fc1 on the report's four designs at 300 MHz: 174.76, 43.69,
// 43.69, 10.92 ms; its table 6 measured 176.12, 45.13, 43.94, 11.25.
constexpr int64_t LinearCycles(const LinearDesign& design, int64_t n, int64_t k) {
  return n * cycles::Ceil(k, int64_t{kWordBytes} * design.banks) * kWordBytes / design.units_per_bank * design.interval;
}

// 16 products of each bank a cycle, plus four cycles for each row's fold.
constexpr int64_t LmHeadCycles(int64_t n, int64_t k) {
  return cycles::Ceil(cycles::Ceil(n, kGroupRows), kLmHeadBanks) * kGroupRows * (cycles::Ceil(k, kWordFloats) + 4);
}

// Positions 0..pos: the slowest of the stages, one head after the other.
constexpr int64_t AttentionCycles(int64_t pos, int64_t n_heads, int64_t head_dim, bool by_column) {
  const int64_t count = pos + 1;
  const int64_t pairs = cycles::Ceil(count, kScorePositions) * kScorePositions;
  const int64_t score = pairs * head_dim / kAttentionUnits;
  const int64_t pair_keys = pairs * head_dim / kWordFloats * 2;
  const int64_t fold = 4 * count;
  const int64_t softmax = (2 + 1) * count;
  const int64_t weigh = count * head_dim / kAttentionUnits * (by_column ? kColumnInterval : 1) + head_dim;
  return n_heads * cycles::Max(cycles::Max(score, weigh), cycles::Max(pair_keys, cycles::Max(fold, softmax)));
}

// Four passes, an element a cycle: in, mean, variance, out.
constexpr int64_t LayerNormCycles(int64_t n) {
  return 4 * cycles::Ceil(n, kWordFloats) * kWordFloats;
}

constexpr int64_t GeluCycles(int64_t n) {
  return cycles::Ceil(n, kWordFloats) * kWordFloats / kGeluUnits;
}

constexpr int64_t ResidualCycles(int64_t n) {
  return cycles::Ceil(n, kWordFloats) * kWordFloats;
}

}  // namespace hls
}  // namespace phidias
