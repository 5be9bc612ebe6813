#pragma once

#include <cstdint>

#include "backend/backend.h"
#include "backend/fpga/card.h"
#include "common/status.h"
#include "hls/tiled_plan.h"
#include "sim/dataflow.h"
#include "sim/parameters.h"
#include "sim/timing.h"

// The tiled accelerator as data: a tile per HBM channel, which owns its share of every matrix's rows and a head's keys
// and values. Its reader runs ahead through a deep stream; a ring gathers activations; one invocation lasts for a whole
// generation.
namespace phidias::sim {

struct TiledDesign {
  int tiles = 32;
  int lanes = 64;            // int8 weights of a beat
  int attention_lanes = 16;  // of keys and values
  int port_bits = 512;       // of a memory unit's port
  double mhz = hls::tiled::kTiledMhz;
  int token_lanes = 4;  // T: tokens that share a beat of weights
  bool int4 = true;     // whether the MAC array takes 4-bit weights too, 128 a beat, as the kernels' does
  int weight_bits = 8;  // of the layers' linears, 4 or 8
  int kv_bits = 8;
  int lm_head_bits = 8;                              // 8, or 16 as two planes
  int64_t weight_fifo = hls::tiled::kPrefetchDepth;  // beats between reader and tile
  int64_t kv_fifo = hls::tiled::kKvPrefetchDepth;
  int slr_tiles[hls::tiled::kRegions] = {hls::tiled::kTilesOfRegion[0], hls::tiled::kTilesOfRegion[1],
                                         hls::tiled::kTilesOfRegion[2]};
  int core_slr = hls::tiled::kCoreRegion;
  bool host_tables = false;  // embedding, rotary rows and norms in the host's memory (TiledTableBank)
};

// The tiles over the regions as link files have them (hls/tiled_design.h).
void SpreadTiles(TiledDesign* design);

// Errors name the rule that the design breaks: tiles that don't divide heads or rows, more ports than masters, lanes
// that aren't a beat, banks overfull, a clock out of range.
Status CheckTiledDesign(const TiledDesign& design, const ModelShape& shape, int64_t positions, const fpga::Card& card);

// What a tile reads of its channel in one pass over the weights, with what they are requantised by; bytes. The sizes
// are those of hls/tiled_plan.h, by which the kernels read.
struct TiledBytes {
  int64_t qkv = 0;
  int64_t fc1 = 0;
  int64_t fc2 = 0;
  int64_t dense = 0;
  int64_t lm_head = 0;
  int64_t keys_per_position = 0;  // of a layer
  int64_t layer() const { return qkv + fc1 + fc2 + dense; }
};
TiledBytes BytesOfTile(const TiledDesign& design, const ModelShape& shape);

struct TiledPass {
  int64_t position = 0;  // of the first of its tokens
  int tokens = 1;        // 1..token_lanes that go together
  bool lm_head = true;
};

// The kernels' own plan of a pass.
hls::tiled::Pass PlanOf(const TiledDesign& design, const ModelShape& shape, const TiledPass& pass);

// `passes` passes, one after the other, as one region: sequencer, core, and per tile memory unit, MAC array and
// attention, with the loops of the kernels (hls/tiled_cycles.h). The stage at index 0 is the sequencer, whose blocks
// are the passes.
RegionSpec TiledRegion(const TiledDesign& design, const ModelShape& shape, const TiledPass& pass, int passes,
                       const Parameters& parameters);

// One pass in the steady state: by events, or in closed form.
Result<TokenTiming> TimeTiledPass(const TiledDesign& design, const ModelShape& shape, const TiledPass& pass,
                                  bool events, const Parameters& parameters);

}  // namespace phidias::sim
