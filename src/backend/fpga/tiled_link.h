#pragma once

#include <string>

#include "backend/fpga/link_file.h"
#include "common/status.h"
#include "hls/tiled_design.h"

namespace phidias::fpga {

// Where the sequencer's tables lie: in DDR[0], or, on a card without DDR whose HBM masters the tiles take, in the
// host's memory, from which a pass reads 0.7 MB.
BankRange TiledTableBank(const Card& card);

// Units, streams, banks and regions of the design `tiled` with so many tiles. Tile i has HBM[i], the command ring and
// the logits lie in the host's memory.
LinkFile TiledLinkFile(int64_t tiles, const Card& card = *FindCard(hls::tiled::kTiledPlatform));

// The name that its xclbin has: "tiled-4".
std::string TiledXclbinName(int64_t tiles);

// Names of the units.
std::string TiledMemoryUnit(int64_t tile);  // "memory_3"
std::string TiledTileUnit(int64_t tile);    // "tile_3"
inline constexpr const char* kSequencerUnit = "sequencer";
inline constexpr const char* kCoreUnit = "core";

}  // namespace phidias::fpga
