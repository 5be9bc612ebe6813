#include "backend/fpga/tiled_link.h"

#include <algorithm>

#include "common/str.h"
#include "hls/tiled_design.h"

namespace phidias::fpga {
namespace {

// Regions fill up in order, each with its share of all tiles.
int RegionOf(int64_t tile, int64_t tiles) {
  constexpr int kRegions = static_cast<int>(std::size(hls::tiled::kTilesOfRegion));
  int64_t end = 0;
  for (int region = 0; region < kRegions; ++region) {
    end += hls::tiled::kTilesOfRegion[region];
    if (tile * hls::tiled::kMaxTiles < end * tiles) {
      return region;
    }
  }
  return kRegions - 1;
}

}  // namespace

std::string TiledXclbinName(int64_t tiles) {
  return StrCat("tiled-", tiles);
}
std::string TiledMemoryUnit(int64_t tile) {
  return StrCat("memory_", tile);
}
std::string TiledTileUnit(int64_t tile) {
  return StrCat("tile_", tile);
}

LinkFile TiledLinkFile(int64_t tiles) {
  constexpr int kDepth = hls::tiled::kUnitFifoDepth;
  LinkFile link;
  link.platform = hls::tiled::kTiledPlatform;
  link.clock_mhz = hls::tiled::kTiledMhz;
  link.units = {{kSequencerUnit, "tiled_sequencer", 0}, {kCoreUnit, "tiled_core", 0}};
  link.ports = {{kSequencerUnit, "tables", {"DDR", 0, 0}},
                {kSequencerUnit, "ring", {"HOST", 0, 0}},
                {kSequencerUnit, "logits", {"HOST", 0, 0}}};
  link.streams = {{kSequencerUnit, "tables_out", kCoreUnit, "tables_in", kDepth},
                  {kCoreUnit, "results_out", kSequencerUnit, "results_in", kDepth}};
  std::string header_unit = kSequencerUnit;  // whose turn it is to pass on
  std::string ring_unit = kCoreUnit;
  for (int64_t i = 0; i < tiles; ++i) {
    const std::string memory = TiledMemoryUnit(i);
    const std::string tile = TiledTileUnit(i);
    const int bank = static_cast<int>(i);
    link.units.push_back({memory, "tiled_memory", 0});
    link.units.push_back({tile, "tiled_tile", RegionOf(i, tiles)});
    link.ports.push_back({memory, "channel", {"HBM", bank, bank}});
    link.streams.push_back({header_unit, "headers_out", memory, "headers_in", kDepth});
    link.streams.push_back({memory, "words_out", tile, "words_in", kDepth});
    link.streams.push_back({tile, "groups_out", memory, "groups_in", kDepth});
    link.streams.push_back({ring_unit, "ring_out", tile, "ring_in", kDepth});
    header_unit = memory;
    ring_unit = tile;
  }
  link.streams.push_back({header_unit, "headers_out", kSequencerUnit, "headers_in", kDepth});
  link.streams.push_back({ring_unit, "ring_out", kCoreUnit, "ring_in", kDepth});
  return link;
}

}  // namespace phidias::fpga
