#pragma once

#include <cstdint>
#include <string>

#include "backend/fpga/packed_writer.h"
#include "backend/fpga/tiled_placement.h"
#include "backend/integer_model.h"
#include "common/status.h"
#include "common/thread_pool.h"

// The packed model of the design `tiled` (packed_file.h): a segment for each channel, then the tables', as
// tiled_packer.h makes them.
namespace phidias::fpga {

// A model as the `integer` arithmetic has it: what BuildIntegerModel takes.
struct TiledWeights {
  ModelShape shape;
  IntegerSources sources;
  IntegerConstants constants;

  bool int4() const { return sources.layers.front().q_proj->weight.dtype == DType::kI4; }
  TiledPlanOptions PlanOptions(int64_t tiles) const {
    return {.tiles = tiles, .positions = 1, .int4 = int4(), .wide_head = constants.lm_head_bits == 16};  // no caches
  }
};

// An error that names the layer where some linear layers have 4 bits and some have 8. (lm_head is made anew whatever it
// is.)
Status CheckTiledWeights(const TiledWeights& weights);

// The design's constants that the bytes of an image depend on, with so many tiles.
uint64_t TiledDesignFingerprint(int64_t tiles);

// What the packed file of these weights for this plan begins with.
PackedHeader TiledPackedHeader(const TiledWeights& weights, const TiledPlacement& plan);

// Writes it. The same weights and plan give the same bytes, on any machine and with any number of threads. Errors: as
// BuildIntegerModel's, and those of the file.
Status PackTiledModel(const TiledWeights& weights, const TiledPlacement& plan, const std::string& path,
                      ThreadPool* pool, const PackOptions& options = {});

}  // namespace phidias::fpga
