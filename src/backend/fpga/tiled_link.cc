#include "backend/fpga/tiled_link.h"

#include "common/str.h"

namespace phidias::fpga {

std::string TiledXclbinName(int64_t tiles) {
  return StrCat("tiled-", tiles);
}
std::string TiledMemoryUnit(int64_t tile) {
  return StrCat("memory_", tile);
}
std::string TiledTileUnit(int64_t tile) {
  return StrCat("tile_", tile);
}

BankRange TiledTableBank(const Card& card) {
  return {FindMemory(card, "DDR") != nullptr ? "DDR" : "HOST", 0, 0};
}

LinkFile TiledLinkFile(int64_t tiles, const Card& card) {
  constexpr int kDepth = hls::tiled::kUnitFifoDepth;
  LinkFile link;
  link.platform = card.platform;
  link.clock_mhz = hls::tiled::kTiledMhz;
  link.units = {{kSequencerUnit, "tiled_sequencer", 0}, {kCoreUnit, "tiled_core", hls::tiled::kCoreRegion}};
  link.ports = {{kSequencerUnit, "tables", TiledTableBank(card)},
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
    link.units.push_back({tile, "tiled_tile", hls::tiled::TileRegion(bank, static_cast<int>(tiles))});
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
