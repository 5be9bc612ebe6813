#pragma once

#include <ap_axi_sdata.h>
#include <ap_int.h>
#include <hls_stream.h>

#include <cstdint>

#include "hls/tiled_design.h"

// The tops of the design `tiled`. Per tile a memory unit, which owns the tile's channel of HBM, and a tile, which has
// streams alone; one sequencer, which owns the tables and the host's memory; one core. Started once, each walks from
// pass to pass until a header says stop: a token costs the host no start of a kernel.
//
//   host <-> tiled_sequencer -- tables --> tiled_core -- ring --> tiled_tile 0 -> ... -> tiled_tile n-1 -> tiled_core
//                  |         <-- results --                         ^ |
//                  '- headers -> tiled_memory 0 -> ... -> tiled_memory n-1 -> tiled_sequencer
//
// with channel words from each memory unit to its tile, and whole groups of the KV cache back. What lies in a channel,
// in the tables and in the ring: hls/tiled_layout.h, hls/tiled_design.h.

using TiledBeat = ap_axiu<512, 0, 0, 0>;
using TiledNarrowBeat = ap_axiu<64, 0, 0, 0>;  // KV groups, few: the wires between regions are dear
using TiledHeaderBeat = ap_axiu<32, 0, 0, 0>;  // headers: once a pass, an integer a cycle

extern "C" {

// Polls `ring` for commands, feeds each pass's header, rotary rows, embeddings and norm constants, and writes what
// comes back: logits (or candidates) to `logits`, ids and counts to `ring`.
void tiled_sequencer(const ap_uint<512>* tables, volatile uint32_t* ring, ap_uint<512>* logits,
                     hls::stream<TiledHeaderBeat>& headers_out, hls::stream<TiledHeaderBeat>& headers_in,
                     hls::stream<TiledBeat>& tables_out, hls::stream<TiledBeat>& results_in);

// Residual stream, LayerNorm, the ring's master, and the merge of the tiles' candidates.
void tiled_core(hls::stream<TiledBeat>& tables_in, hls::stream<TiledBeat>& ring_in, hls::stream<TiledBeat>& ring_out,
                hls::stream<TiledBeat>& results_out);

// Reads the channel in the order of the plan, a pass at a time and as far ahead as the streams have room, and writes
// the open groups of the KV cache when a pass has read everything.
void tiled_memory(ap_uint<512>* channel, hls::stream<TiledHeaderBeat>& headers_in,
                  hls::stream<TiledHeaderBeat>& headers_out, hls::stream<TiledBeat>& words_out,
                  hls::stream<TiledNarrowBeat>& groups_in);

// A tile: MAC array, requantising, GELU, rotary, attention of its heads, its share of lm_head.
void tiled_tile(hls::stream<TiledBeat>& words_in, hls::stream<TiledNarrowBeat>& groups_out,
                hls::stream<TiledBeat>& ring_in, hls::stream<TiledBeat>& ring_out);

}  // extern "C"
