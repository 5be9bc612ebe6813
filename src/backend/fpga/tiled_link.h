#pragma once

#include <string>

#include "backend/fpga/link_file.h"
#include "common/status.h"

namespace phidias::fpga {

// Units, streams, banks and regions of the design `tiled` with so many tiles, for the U280. Tile i has HBM[i], the
// tables lie in DDR[0], the command ring and the logits in the host's memory.
LinkFile TiledLinkFile(int64_t tiles);

// The name that its xclbin has: "tiled-4".
std::string TiledXclbinName(int64_t tiles);

// Names of the units.
std::string TiledMemoryUnit(int64_t tile);  // "memory_3"
std::string TiledTileUnit(int64_t tile);    // "tile_3"
inline constexpr const char* kSequencerUnit = "sequencer";
inline constexpr const char* kCoreUnit = "core";

}  // namespace phidias::fpga
