#pragma once

#include <cstdint>
#include <span>

#include "backend/integer_model.h"
#include "common/status.h"
#include "common/thread_pool.h"
#include "hls/tiled_plan.h"

// A model of the `integer` arithmetic as the design `tiled` reads it (hls/tiled_plan.h, hls/tiled_layout.h): one image
// per channel, and the sequencer's tables. Images are 32-bit words, 16 to a beat.
namespace phidias::fpga {

// Bits of a model's weights on the card.
struct TiledPrecision {
  bool int4 = false;       // the layers' in 4 bits, else in 8
  bool wide_head = false;  // lm_head's in 16, else in 8
};

// Whether the design takes a model of this shape with so many tiles. Errors name the size, its limit and the way out.
Status CheckTiledShape(const ModelShape& shape, int64_t tiles, bool int4 = false);

// The tiles that a shape gets unless told otherwise: as many as heads, tiles and the card's channels allow.
Result<int64_t> ChooseTiles(const ModelShape& shape, int64_t channels, bool int4 = false);

// A pass without tokens: every size of the model over `tiles` tiles.
hls::tiled::Pass TiledSizes(const ModelShape& shape, int64_t tiles, const TiledPrecision& precision);

// Positions in whole groups of the cache.
constexpr int64_t KvGroups(int64_t positions) {
  return (positions + hls::tiled::kKvGroup - 1) / hls::tiled::kKvGroup;
}
// Words of one sequence's cache in each channel.
int64_t TiledKvWords(const hls::tiled::Pass& sizes, int64_t positions);

int64_t TiledTableWords(const ModelShape& shape);

// Tile `tile`'s image: ChannelWords(sizes) * 16 integers.
void PackTiledChannel(const IntegerModel& model, const hls::tiled::Pass& sizes, int32_t tile, std::span<int32_t> out);

// The tables: TiledTableWords * 16 integers. The embedding's rows are shared by the pool's threads.
void PackTiledTables(const IntegerModel& model, const hls::tiled::Pass& sizes, ThreadPool& pool,
                     std::span<int32_t> out);

}  // namespace phidias::fpga
