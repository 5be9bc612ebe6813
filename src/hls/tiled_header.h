#pragma once

#ifndef __BAMBU__  // its library has no such header, and arithmetic stages have plain streams
#include <ap_axi_sdata.h>
#endif

#include "hls/tiled_plan.h"
#include "hls/word.h"

// Words and beats as the kernels of the design `tiled` exchange them.
namespace phidias {
namespace hls {
namespace tiled {

#ifndef __BAMBU__
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

// The same word in parts of 64 bits.
using NarrowWord = ap_uint<kNarrowBits>;
using NarrowBeat = ap_axiu<kNarrowBits, 0, 0, 0>;
static constexpr int kNarrowBeats = kWordBits / kNarrowBits;
using HeaderBeat = ap_axiu<kHeaderBits, 0, 0, 0>;

template <int kWidth>
PHIDIAS_INLINE NarrowWord NarrowOf(const ap_uint<kWidth>& word, int index) {
  return (static_cast<uint64_t>(Field<32>(word, 2 * index + 1)) << 32) | Field<32>(word, 2 * index);
}
PHIDIAS_INLINE NarrowBeat NarrowBeatOf(const NarrowWord& data) {
  NarrowBeat beat;
  beat.data = data;
#ifdef __SYNTHESIS__
  beat.keep = -1;
  beat.last = 0;
#endif
  return beat;
}
#endif

// Inputs of the MAC array.
using Part = ap_uint<kPartBits>;

PHIDIAS_INLINE Part PartOf(const Word& word, int index) {
  constexpr int kFields = kPartBits / 32;
  Part part = 0;
FIELDS:
  PHIDIAS_UNROLL_BEFORE
  for (int i = 0; i < kFields; ++i) {
    PHIDIAS_UNROLL
    SetField<32>(&part, i, Field<32>(word, index * kFields + i));
  }
  return part;
}

// Words and parts that are made of smaller pieces: what comes in at the end moves on to the begin, so that no piece is
// led to a place of its own.
template <int kWidth>
PHIDIAS_INLINE void MoveInField(uint32_t field, ap_uint<kWidth>* to) {
  constexpr int kLast = kWidth / 32 - 1;
FIELDS:
  PHIDIAS_UNROLL_BEFORE
  for (int f = 0; f < kLast; ++f) {
    PHIDIAS_UNROLL
    SetField<32>(to, f, Field<32>(*to, f + 1));
  }
  SetField<32>(to, kLast, field);
}
PHIDIAS_INLINE void MoveInPart(const Part& part, Word* to) {
PIECES:
  PHIDIAS_UNROLL_BEFORE
  for (int f = 0; f < kPartFields; ++f) {
    PHIDIAS_UNROLL
    MoveInField(Field<32>(part, f), to);
  }
}

// A pass on its way, integer by integer: the 512 bits of a word to each stage would take as much of the chip as the MAC
// array's accumulators, and what follows from a header is computed once, by the sequencer. The first two say whether a
// memory unit is the last one.
static constexpr int kTilesAt = 0;
static constexpr int kTileAt = 1;

PHIDIAS_INLINE void FieldsOf(const Pass& pass, int32_t fields[kPassFields]) {
  fields[kTilesAt] = pass.tiles;
  fields[kTileAt] = pass.tile;
  fields[2] = pass.opcode;
  fields[3] = pass.tokens;
  fields[4] = pass.position;
  fields[5] = pass.kv_base;
  fields[6] = pass.kv_groups;
  fields[7] = pass.logit_mask;
  fields[8] = pass.logit_rows;
  fields[9] = pass.best ? 1 : 0;
  fields[10] = pass.layers;
  fields[11] = pass.hidden;
  fields[12] = pass.heads;
  fields[13] = pass.head_dim;
  fields[14] = pass.rotary_dim;
  fields[15] = pass.planes;
  fields[16] = pass.rows;
  fields[17] = pass.mlp_rows;
  fields[18] = pass.head_rows;
  fields[19] = pass.slice_words;
  fields[20] = pass.mlp_slice_words;
  fields[21] = pass.hidden_words;
  fields[22] = pass.slices_words;
  fields[23] = pass.mlp_words;
  fields[24] = pass.candidate_ids;
  fields[25] = pass.int4 ? 1 : 0;
  fields[26] = pass.key_step;
  fields[27] = pass.value_step;
}
PHIDIAS_INLINE Pass PassFrom(const int32_t fields[kPassFields]) {
  Pass pass;
  pass.tiles = fields[kTilesAt];
  pass.tile = fields[kTileAt];
  pass.opcode = fields[2];
  pass.tokens = fields[3];
  pass.position = fields[4];
  pass.kv_base = fields[5];
  pass.kv_groups = fields[6];
  pass.logit_mask = fields[7];
  pass.logit_rows = fields[8];
  pass.best = fields[9] != 0;
  pass.layers = fields[10];
  pass.hidden = fields[11];
  pass.heads = fields[12];
  pass.head_dim = fields[13];
  pass.rotary_dim = fields[14];
  pass.planes = fields[15];
  pass.rows = fields[16];
  pass.mlp_rows = fields[17];
  pass.head_rows = fields[18];
  pass.slice_words = fields[19];
  pass.mlp_slice_words = fields[20];
  pass.hidden_words = fields[21];
  pass.slices_words = fields[22];
  pass.mlp_words = fields[23];
  pass.candidate_ids = fields[24];
  pass.int4 = fields[25] != 0;
  pass.key_step = fields[26];
  pass.value_step = fields[27];
  return pass;
}

PHIDIAS_INLINE int32_t IntOf(int32_t element) {
  return element;
}
#ifndef __BAMBU__
// Headers share the channel's and the tables' streams of words: one integer each.
PHIDIAS_INLINE int32_t IntOf(const Beat& beat) {
  return IntAt(beat.data, 0);
}
PHIDIAS_INLINE int32_t IntOf(const HeaderBeat& beat) {
  return static_cast<int32_t>(beat.data.range(kHeaderBits - 1, 0).to_uint());
}
PHIDIAS_INLINE Beat IntBeatOf(int32_t value) {
  return BeatOf(Word(static_cast<uint32_t>(value)));
}
PHIDIAS_INLINE HeaderBeat HeaderBeatOf(int32_t value) {
  HeaderBeat beat;
  beat.data = static_cast<uint32_t>(value);
#ifdef __SYNTHESIS__
  beat.keep = -1;
  beat.last = 0;
#endif
  return beat;
}
#endif

template <class Element>
Pass ReceivePass(Stream<Element>& in) {
  int32_t fields[kPassFields];
  PHIDIAS_PARTITION(fields)
FIELDS:
  for (int i = 0; i < kPassFields; ++i) {
    PHIDIAS_PIPELINE(1)
    fields[i] = IntOf(in.read());
  }
  return PassFrom(fields);
}

}  // namespace tiled
}  // namespace hls
}  // namespace phidias
