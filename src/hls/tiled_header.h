#pragma once

#include <ap_axi_sdata.h>

#include "hls/tiled_design.h"
#include "hls/word.h"

// A pass's header as the kernels read it, and sizes that follow from it. Host code packs by the same functions
// (hls/tiled_layout.h).
namespace phidias {
namespace hls {
namespace tiled {

// A beat between compute units.
using Beat = ap_axiu<kWordBits, 0, 0, 0>;

PHIDIAS_INLINE Beat BeatOf(const Word& word) {
  Beat beat;
  beat.data = word;
#ifdef __SYNTHESIS__
  beat.keep = -1;
  beat.last = 0;
#endif
  return beat;
}

// Words that `bytes` take, groups that `rows` take, rows or columns of a tile's share.
PHIDIAS_INLINE constexpr int32_t ByteWords(int32_t bytes) {
  return (bytes + kWordBytes - 1) / kWordBytes;
}
PHIDIAS_INLINE constexpr int32_t RowGroups(int32_t rows) {
  return (rows + kTileRows - 1) / kTileRows;
}
PHIDIAS_INLINE constexpr int32_t Share(int32_t count, int32_t tiles) {
  return (count + tiles - 1) / tiles;
}

// What a header says. Sizes in words are of the activations of one lane as they cross the ring: every tile's share
// fills whole words, and so do the weights' columns that meet them.
struct Pass {
  int32_t opcode;
  int32_t tile;
  int32_t tiles;
  int32_t tokens;
  int32_t position;
  int32_t kv_base;
  int32_t kv_groups;
  int32_t logit_mask;
  int32_t logit_rows;
  bool best;  // candidates instead of logits
  int32_t layers;
  int32_t hidden;
  int32_t heads;
  int32_t head_dim;
  int32_t rotary_dim;
  int32_t vocab;
  int32_t planes;  // of lm_head's weights
  // Per tile.
  int32_t rows;       // of q, k, v, dense and fc2
  int32_t mlp_rows;   // of fc1
  int32_t head_rows;  // of lm_head
  int32_t slice_words;
  int32_t mlp_slice_words;
  // Of all tiles.
  int32_t hidden_words;  // of a normalised row
  int32_t slices_words;  // of the attention's output
  int32_t mlp_words;     // of gelu's output
};

PHIDIAS_INLINE Pass ReadPass(const Word& header) {
  Pass pass;
  pass.opcode = IntAt(header, kOpcode);
  pass.tile = IntAt(header, kTile);
  pass.tiles = IntAt(header, kTiles);
  pass.tokens = IntAt(header, kTokens);
  pass.position = IntAt(header, kPosition);
  pass.kv_base = IntAt(header, kKvBase);
  pass.kv_groups = IntAt(header, kKvGroups);
  pass.logit_mask = IntAt(header, kLogitMask);
  pass.logit_rows = 0;
COUNT:
  PHIDIAS_UNROLL_BEFORE
  for (int lane = 0; lane < kLanes; ++lane) {
    PHIDIAS_UNROLL
    pass.logit_rows += (pass.logit_mask >> lane) & 1;
  }
  pass.best = IntAt(header, kLogitKind) == kBestLogits;
  pass.layers = IntAt(header, kLayers);
  pass.hidden = IntAt(header, kHidden);
  pass.heads = IntAt(header, kHeads);
  pass.head_dim = IntAt(header, kHeadDim);
  pass.rotary_dim = IntAt(header, kRotaryDim);
  pass.vocab = IntAt(header, kVocab) >> 2;
  pass.planes = IntAt(header, kVocab) & 3;
  pass.rows = pass.heads * pass.head_dim;
  pass.mlp_rows = Share(IntAt(header, kIntermediate), pass.tiles);
  pass.head_rows = Share(pass.vocab, pass.tiles);
  pass.slice_words = ByteWords(pass.rows);
  pass.mlp_slice_words = ByteWords(pass.mlp_rows);
  pass.hidden_words = ByteWords(pass.hidden);
  pass.slices_words = pass.tiles * pass.slice_words;
  pass.mlp_words = pass.tiles * pass.mlp_slice_words;
  return pass;
}

// --- the channel's contents in words, in the order in which a pass reads them ---

static constexpr int kExpTableWords = 16;                       // 256 entries of 32 bits, once a pass
static constexpr int kGeluTableWords = 4;                       // 256 bytes, before fc1
static constexpr int kFactorWords = 3;                          // per 16 rows: biases, multipliers, shifts
static constexpr int kHeadFactorWords = 3;                      // per 16 rows of lm_head: biases (64 bits each), scales
static constexpr int kBeatsPerWord = kWordBytes / kTileInputs;  // weight beats that meet a word of inputs

// A linear layer of a tile: a word with zero point and range, then per group its factors and its weights.
PHIDIAS_INLINE constexpr int32_t LinearWords(int32_t rows, int32_t input_words) {
  return 1 + RowGroups(rows) * (kFactorWords + input_words * kBeatsPerWord);
}
// q, k, v, and a word of constants per head.
PHIDIAS_INLINE int32_t QkvWords(const Pass& pass) {
  return 3 * LinearWords(pass.rows, pass.hidden_words) + pass.heads;
}
PHIDIAS_INLINE int32_t Fc1Words(const Pass& pass) {
  return kGeluTableWords + LinearWords(pass.mlp_rows, pass.hidden_words);
}
PHIDIAS_INLINE int32_t Fc2Words(const Pass& pass) {
  return LinearWords(pass.rows, pass.mlp_words);
}
PHIDIAS_INLINE int32_t DenseWords(const Pass& pass) {
  return LinearWords(pass.rows, pass.slices_words);
}
PHIDIAS_INLINE int32_t LayerWords(const Pass& pass) {
  return QkvWords(pass) + Fc1Words(pass) + Fc2Words(pass) + DenseWords(pass);
}
PHIDIAS_INLINE int32_t HeadWords(const Pass& pass) {
  return RowGroups(pass.head_rows) * (kHeadFactorWords + pass.planes * pass.hidden_words * kBeatsPerWord);
}
// Exponents, layers, lm_head.
PHIDIAS_INLINE int32_t ChannelWords(const Pass& pass) {
  return kExpTableWords + pass.layers * LayerWords(pass) + HeadWords(pass);
}

// A group of the KV cache: kKvGroup positions of one head, one position's elements after the other's.
PHIDIAS_INLINE constexpr int32_t KvGroupWords(int32_t head_dim) {
  return ByteWords(kKvGroup * head_dim);
}
// Keys (0) or values (1) of one head and layer: the first word of its groups within the channel.
PHIDIAS_INLINE int32_t KvWord(const Pass& pass, int32_t layer, int32_t head, int32_t values) {
  return pass.kv_base + ((layer * pass.heads + head) * 2 + values) * pass.kv_groups * KvGroupWords(pass.head_dim);
}
PHIDIAS_INLINE int32_t KvRegionWords(const Pass& pass) {
  return pass.layers * pass.heads * 2 * pass.kv_groups * KvGroupWords(pass.head_dim);
}
// Groups that hold positions before the pass.
PHIDIAS_INLINE int32_t StoredGroups(const Pass& pass) {
  return (pass.position + kKvGroup - 1) / kKvGroup;
}
// The group that the pass writes: all of its positions lie in it.
PHIDIAS_INLINE int32_t OpenGroup(const Pass& pass) {
  return pass.position / kKvGroup;
}

// A position's cosines and sines, 16 bits each.
PHIDIAS_INLINE constexpr int32_t RotaryWords(int32_t rotary_dim) {
  return 2 * ByteWords(rotary_dim);
}

// A norm's constants: a word with gain_shift and eps, then per 16 channels a word of gains and one of offsets.
PHIDIAS_INLINE int32_t NormWords(int32_t hidden) {
  return 1 + 2 * FloatWords(hidden);
}

// Sweeps over lm_head, and the rows of sweep s.
PHIDIAS_INLINE int32_t Sweeps(const Pass& pass) {
  return (pass.logit_rows + kHeadRows - 1) / kHeadRows;
}
PHIDIAS_INLINE int32_t SweepRows(const Pass& pass, int32_t sweep) {
  const int32_t left = pass.logit_rows - sweep * kHeadRows;
  return left < kHeadRows ? left : kHeadRows;
}
// Words of one row's candidates: eight pairs of logit and id each.
static constexpr int kCandidatesPerWord = kWordFloats / 2;
static constexpr int kCandidateWords = kCandidates / kCandidatesPerWord;
static_assert(kCandidateWords * kCandidatesPerWord == kCandidates, "candidates fill whole words");

}  // namespace tiled
}  // namespace hls
}  // namespace phidias
