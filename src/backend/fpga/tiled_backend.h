#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "backend/fpga/fpga_backend.h"
#include "backend/integer_constants.h"
#include "common/status.h"

namespace phidias::fpga {

inline constexpr const char* kTiledDesignName = "tiled";  // --design

// Tokens that the card chooses by itself: each the largest logit after the one before.
struct CardGeneration {
  int32_t token = 0;  // computed first
  int32_t position = 0;
  int32_t count = 0;            // to choose, at most
  int32_t end = -1;             // ends after this one; -1: none does
  std::vector<int32_t> banned;  // never chosen
};

class TiledBackend : public CardBackend {
 public:
  // Without the host between tokens. `kv` holds the positions before. Errors: as a step's, and more tokens than the
  // command ring or the cache takes.
  virtual Result<std::vector<int32_t>> Generate(KvStore& kv, const CardGeneration& generation) = 0;
};

// The `integer` arithmetic on a card of the design `tiled`: the same bits as CreateIntegerCpuBackend's. A step is cut
// into passes of up to kLanes tokens of a sequence. Activations but the logits stay on the card: reading one is an
// error of the step. `tiles`: 0: as many as the model's heads allow.
Result<std::unique_ptr<TiledBackend>> CreateTiledBackend(const ModelShape& shape, const CardOptions& options,
                                                         const IntegerConstants& constants, OpenCard open_card,
                                                         int64_t tiles = 0);

}  // namespace phidias::fpga
