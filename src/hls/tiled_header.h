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
using NarrowBeat = ap_axiu<kNarrowBits, 0, 0, 0>;
static constexpr int kNarrowBeats = kWordBits / kNarrowBits;

PHIDIAS_INLINE NarrowBeat NarrowBeatOf(const Word& word, int part) {
  NarrowBeat beat;
  beat.data = (static_cast<uint64_t>(Field<32>(word, 2 * part + 1)) << 32) | Field<32>(word, 2 * part);
#ifdef __SYNTHESIS__
  beat.keep = -1;
  beat.last = 0;
#endif
  return beat;
}
#endif

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

}  // namespace tiled
}  // namespace hls
}  // namespace phidias
