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

PHIDIAS_INLINE NarrowWord NarrowOf(const Word& word, int index) {
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

PHIDIAS_INLINE Pass ReadPass(const Word& header) {
  int32_t fields[kHeaderFields];
FIELDS:
  PHIDIAS_UNROLL_BEFORE
  for (int i = 0; i < kHeaderFields; ++i) {
    PHIDIAS_UNROLL
    fields[i] = IntAt(header, i);
  }
  return PassOf(fields);
}

// A pass on its way to a tile's stages, integer by integer: 512 bits to each stage would take as much of the chip as
// the MAC array's accumulators, and what follows from a header is computed once.
PHIDIAS_INLINE void FieldsOf(const Pass& pass, int32_t fields[kPassFields]) {
  fields[0] = pass.opcode;
  fields[1] = pass.tile;
  fields[2] = pass.tiles;
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
  fields[15] = pass.vocab;
  fields[16] = pass.planes;
  fields[17] = pass.rows;
  fields[18] = pass.mlp_rows;
  fields[19] = pass.head_rows;
  fields[20] = pass.slice_words;
  fields[21] = pass.mlp_slice_words;
  fields[22] = pass.hidden_words;
  fields[23] = pass.slices_words;
  fields[24] = pass.mlp_words;
  fields[25] = pass.candidate_ids;
  fields[26] = pass.int4 ? 1 : 0;
}
inline Pass ReceivePass(Stream<int32_t>& in) {
  int32_t fields[kPassFields];
  PHIDIAS_PARTITION(fields)
FIELDS:
  for (int i = 0; i < kPassFields; ++i) {
    PHIDIAS_PIPELINE(1)
    fields[i] = in.read();
  }
  Pass pass;
  pass.opcode = fields[0];
  pass.tile = fields[1];
  pass.tiles = fields[2];
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
  pass.vocab = fields[15];
  pass.planes = fields[16];
  pass.rows = fields[17];
  pass.mlp_rows = fields[18];
  pass.head_rows = fields[19];
  pass.slice_words = fields[20];
  pass.mlp_slice_words = fields[21];
  pass.hidden_words = fields[22];
  pass.slices_words = fields[23];
  pass.mlp_words = fields[24];
  pass.candidate_ids = fields[25];
  pass.int4 = fields[26] != 0;
  return pass;
}

}  // namespace tiled
}  // namespace hls
}  // namespace phidias
