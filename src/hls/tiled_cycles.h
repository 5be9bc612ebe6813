#pragma once

#include "hls/tiled_plan.h"

// Cycles of the design `tiled`'s loops as the kernels have them, one iteration every `interval` of PHIDIAS_PIPELINE;
// what a pipeline takes to fill and empty isn't counted. For the timing model; each function names its loops.
namespace phidias {
namespace hls {
namespace tiled {

// tiled_core_stages.h, LoadResidual; AddToResidual takes as long.
PHIDIAS_INLINE int64_t ResidualCycles(const Pass& pass) {
  return int64_t{pass.tokens} * IntWords(pass.hidden);
}
// Statistics (SUM, SQUARES) and Normalize's STEPS, which leave as words of the normalised row.
PHIDIAS_INLINE int64_t NormalizeCycles(const Pass& pass, int32_t rows) {
  constexpr int32_t kQuarters = kWordBytes / kWordFloats;
  return int64_t{rows} * (2 * IntWords(pass.hidden) + 2 * ByteWords(pass.hidden) * kQuarters);
}
// Collect of the tiles' shares, share_words each, and Broadcast of what they make.
PHIDIAS_INLINE int64_t CollectCycles(const Pass& pass, int32_t share_words) {
  return int64_t{pass.tokens} * pass.tiles * share_words;
}
// CollectRows of one layer's fc2 or dense.
PHIDIAS_INLINE int64_t CollectRowsCycles(const Pass& pass) {
  const int32_t of_word = pass.rows % kTileRows == 0 ? 1 : kTileRows;
  return int64_t{pass.tokens} * pass.tiles * RowGroups(pass.rows) * of_word;
}
// MergeCandidates of a sweep: MergeList of each tile (MERGE, and LEFT if nothing of its list stays), and WRITE.
PHIDIAS_INLINE int64_t MergeCycles(const Pass& pass, int32_t rows) {
  return int64_t{rows} * (pass.tiles * (kCandidates + kCandidateWords) + kCandidates);
}

// tiled_tile_stages.h, ReceiveParts, and tiled_linear_stages.h, LoadInputs, which take a message's words as they come,
// part by part: `words` of each lane.
PHIDIAS_INLINE int64_t InputCycles(const Pass& pass, int32_t words) {
  return int64_t{pass.tokens} * words * kParts;
}

// tiled_linear_stages.h, MultiplyGroup's STEPS of one linear layer: a word a cycle, 4-bit beats twice where more than a
// pair of lanes is in use, and the scaler's last unit.
PHIDIAS_INLINE int64_t SecondCycles(const Pass& pass, int32_t rows, int32_t input_words) {
  return pass.int4 && pass.tokens > 2 ? int64_t{RowGroups(rows)} * WeightBeats(input_words, true) : 0;
}
PHIDIAS_INLINE int64_t DrainCycles(const Pass& pass, int32_t rows) {
  return pass.int4 ? int64_t{RowGroups(rows)} * pass.tokens * (kTileRows / kScaleRows) : 0;
}

// tiled_attention_stages.h, LoadRows, Rotate and Narrow: q, k and v ready to be met.
PHIDIAS_INLINE int64_t PrepareCycles(const Pass& pass) {
  const int32_t of_head =
      2 * pass.head_dim + pass.head_dim + 3 * (HeadChunks(pass.head_dim) * kAttendBytes - pass.head_dim);
  return int64_t{pass.tokens} * (3 * RowGroups(pass.rows) * kTileRows + pass.heads * of_head);
}
// Score (Weigh) of one word of the cache: all lanes, all positions of its group.
PHIDIAS_INLINE int64_t WordCycles(const Pass& pass) {
  return int64_t{pass.tokens} * kKvGroup;
}
// Words of keys (values) that Score (Weigh) takes in a layer, the open group's own ones too.
PHIDIAS_INLINE int64_t AttendedWords(const Pass& pass) {
  return int64_t{pass.heads} * (OpenGroup(pass) + 1) * KvGroupWords(pass.head_dim);
}
// Soften of all heads and lanes.
PHIDIAS_INLINE int64_t SoftenCycles(const Pass& pass) {
  return int64_t{pass.heads} * pass.tokens * (OpenGroup(pass) + 1) * kKvGroup;
}
// OUT, an element every other cycle, and WriteRows.
PHIDIAS_INLINE int64_t AttendedCycles(const Pass& pass) {
  return int64_t{pass.tokens} * (2 * pass.rows + pass.slice_words * kWordBytes);
}

// tiled_memory.cc, WriteGroups: words that a pass writes, and cycles of each.
PHIDIAS_INLINE int64_t KeptWords(const Pass& pass) {
  return int64_t{pass.layers} * 2 * pass.heads * KvGroupWords(pass.head_dim);
}
static constexpr int kKeptWordCycles = kWordBits / kNarrowBits;

}  // namespace tiled
}  // namespace hls
}  // namespace phidias
