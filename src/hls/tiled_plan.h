#pragma once

#include "hls/tiled_design.h"
#include "numerics/bits.h"

// A pass of the design `tiled` and every size that follows from it: one source for the kernels, the host's packing and
// placement, and the timing model. C++14 without a library.
namespace phidias {
namespace hls {
namespace tiled {

// A product of counts, none negative, the second below 2^15: of a size that one DSP takes, where 32 bits would take
// three, in every stage of every tile.
PHIDIAS_INLINE constexpr int32_t Times(int32_t count, int32_t times) {
  return (count & ((1 << 26) - 1)) * static_cast<int16_t>(times);
}
// Words that `bytes` or `count` integers take, groups that `rows` take, rows of a tile's share.
PHIDIAS_INLINE constexpr int32_t ByteWords(int32_t bytes) {
  return (bytes + kWordBytes - 1) / kWordBytes;
}
PHIDIAS_INLINE constexpr int32_t IntWords(int32_t count) {
  return (count + kWordFloats - 1) / kWordFloats;
}
// The tiles' shares of an activation stand one behind the other in quarters of a word: a share of 80 bytes in whole
// words would make every row of dense 1.6 times as long.
static constexpr int kQuarterBytes = kWordBytes / 4;
PHIDIAS_INLINE constexpr int32_t Quarters(int32_t bytes) {
  return (bytes + kQuarterBytes - 1) / kQuarterBytes;
}
PHIDIAS_INLINE constexpr int32_t SharesWords(int32_t shares, int32_t bytes) {
  return (Times(Quarters(bytes), shares) + 3) / 4;
}
PHIDIAS_INLINE constexpr int32_t RowGroups(int32_t rows) {
  return (rows + kTileRows - 1) / kTileRows;
}
PHIDIAS_INLINE constexpr int32_t Share(int32_t count, int32_t tiles) {
  return (count + tiles - 1) / tiles;
}

// What a header says. Sizes in words are of the activations of one lane as they cross the ring: a tile's share on its
// way to the core fills whole words, all tiles' shares on their way back whole quarters of words, and so do the
// weights' columns that meet them.
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
  bool best;              // candidates instead of logits
  int32_t candidate_ids;  // ids below are candidates
  int32_t layers;
  int32_t hidden;
  int32_t heads;
  int32_t head_dim;
  int32_t rotary_dim;
  int32_t planes;  // of lm_head's weights
  bool int4;       // the layers' weights have 4 bits
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
  // Words of keys (values) before each row group of fc1 (fc2), as long as there are any.
  int32_t key_step;
  int32_t value_step;
};

// --- the channel's contents in words, in the order in which a pass reads them ---

static constexpr int kExpTableWords = 16;                       // 256 entries of 32 bits, once a pass
static constexpr int kGeluTableWords = 4;                       // 256 bytes, before fc1
static constexpr int kFactorWords = 3;                          // per 16 rows: biases, multipliers, shifts
static constexpr int kHeadFactorWords = 3;                      // per 16 rows of lm_head: biases (64 bits each), scales
static constexpr int kBeatsPerWord = kWordBytes / kTileInputs;  // weight beats that meet a word of inputs

// Beats of 16 rows' weights, and those with the words of multipliers that 4-bit blocks begin with.
PHIDIAS_INLINE constexpr int32_t WeightBeats(int32_t input_words, bool int4) {
  return int4 ? input_words * (kBeatsPerWord / 2) : input_words * kBeatsPerWord;
}
PHIDIAS_INLINE constexpr int32_t WeightWords(int32_t input_words, bool int4) {
  return WeightBeats(input_words, int4) + (int4 ? (WeightBeats(input_words, int4) + kBlockBeats - 1) / kBlockBeats : 0);
}
// A linear layer of a tile: a word with zero point and range, then per group its factors and its weights.
PHIDIAS_INLINE constexpr int32_t GroupWords(int32_t input_words, bool int4) {
  return kFactorWords + WeightWords(input_words, int4);
}
PHIDIAS_INLINE constexpr int32_t LinearWords(int32_t rows, int32_t input_words, bool int4) {
  return 1 + RowGroups(rows) * GroupWords(input_words, int4);
}
// A word of constants per head first, so that the attention takes q, k and v as they come; then q, k, v.
PHIDIAS_INLINE int32_t QkvWords(const Pass& pass) {
  return pass.heads + 3 * LinearWords(pass.rows, pass.hidden_words, pass.int4);
}
PHIDIAS_INLINE int32_t Fc1Words(const Pass& pass) {
  return kGeluTableWords + LinearWords(pass.mlp_rows, pass.hidden_words, pass.int4);
}
PHIDIAS_INLINE int32_t Fc2Words(const Pass& pass) {
  return LinearWords(pass.rows, pass.mlp_words, pass.int4);
}
PHIDIAS_INLINE int32_t DenseWords(const Pass& pass) {
  return LinearWords(pass.rows, pass.slices_words, pass.int4);
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

// A head's elements in chunks of kAttendBytes, the last one filled up with zeros.
PHIDIAS_INLINE constexpr int32_t HeadChunks(int32_t head_dim) {
  return (head_dim + kAttendBytes - 1) / kAttendBytes;
}
// A group of the KV cache: kKvGroup positions of one head. Its word c has chunk c of each of them.
PHIDIAS_INLINE constexpr int32_t KvGroupWords(int32_t head_dim) {
  return HeadChunks(head_dim);
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
// Words of one layer's keys (values): of all heads, positions before the pass. They come between the weights of fc1
// (fc2), so that neither they nor the weights wait for the other: before each row group as many (key_step, value_step)
// as make all of them come in time, of those that are left.
PHIDIAS_INLINE int32_t CacheWords(const Pass& pass) {
  return pass.heads * StoredGroups(pass) * KvGroupWords(pass.head_dim);
}
PHIDIAS_INLINE constexpr int32_t CachePart(int32_t left, int32_t step) {
  return left < step ? left : step;
}
// The group that the pass writes: all of its positions lie in it.
PHIDIAS_INLINE int32_t OpenGroup(const Pass& pass) {
  return pass.position / kKvGroup;
}

// From what the sequencer knows. Divides, as no other kernel needs to: units get the quotients in the header.
PHIDIAS_INLINE Pass PassOf(const int32_t fields[kHeaderFields]) {
  Pass pass;
  pass.opcode = fields[kOpcode];
  pass.tile = fields[kTile];
  pass.tiles = fields[kTiles];
  pass.tokens = fields[kTokens];
  pass.position = fields[kPosition];
  pass.kv_base = fields[kKvBase];
  pass.kv_groups = fields[kKvGroups];
  pass.logit_mask = fields[kLogitMask];
  static_assert(kLanes == 4, "the sum below has a term for each lane");
  pass.logit_rows = (pass.logit_mask & 1) + ((pass.logit_mask >> 1) & 1) + ((pass.logit_mask >> 2) & 1) +
                    ((pass.logit_mask >> 3) & 1);
  pass.best = (fields[kLogitKind] & 1) == kBestLogits;
  pass.layers = fields[kLayers];
  pass.hidden = fields[kHidden];
  pass.heads = fields[kHeads];
  pass.head_dim = fields[kHeadDim];
  pass.rotary_dim = fields[kRotaryDim];
  const int32_t vocab = fields[kVocab] >> kVocabShift;
  pass.planes = fields[kVocab] & (kI4Flag - 1);
  pass.int4 = (fields[kVocab] & kI4Flag) != 0;
  pass.candidate_ids = (fields[kLogitKind] >> 1) == 0 ? vocab : fields[kLogitKind] >> 1;
  pass.rows = Times(pass.heads, pass.head_dim);
  pass.mlp_rows = Share(fields[kIntermediate], pass.tiles);
  pass.head_rows = Share(vocab, pass.tiles);
  pass.slice_words = ByteWords(pass.rows);
  pass.mlp_slice_words = ByteWords(pass.mlp_rows);
  pass.hidden_words = ByteWords(pass.hidden);
  pass.slices_words = SharesWords(pass.tiles, pass.rows);
  pass.mlp_words = SharesWords(pass.tiles, pass.mlp_rows);
  pass.key_step = Share(CacheWords(pass), RowGroups(pass.mlp_rows));
  pass.value_step = Share(CacheWords(pass), RowGroups(pass.rows));
  return pass;
}

// A position's cosines and sines, 16 bits each.
PHIDIAS_INLINE constexpr int32_t RotaryWords(int32_t rotary_dim) {
  return 2 * ByteWords(rotary_dim);
}

// A norm's constants: a word with gain_shift and eps, then per 16 channels a word of gains and one of offsets.
PHIDIAS_INLINE int32_t NormWords(int32_t hidden) {
  return 1 + 2 * IntWords(hidden);
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
