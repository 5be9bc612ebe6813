#pragma once

#include <cstdint>
#include <memory>

#include "backend/fpga/fpga_backend.h"
#include "backend/integer_constants.h"
#include "common/status.h"

namespace phidias::fpga {

inline constexpr const char* kTiledDesignName = "tiled";  // --design

// The `integer` arithmetic on a card of the design `tiled`: the same bits as CreateIntegerCpuBackend's. A step is cut
// into passes of up to kLanes tokens of a sequence. Activations but the logits stay on the card: reading one is an
// error of the step. Generates by itself (Backend::Generate) what the best kCandidates logits decide: greedy, or
// sampled with top_k. `tiles`: 0: as many as the model's heads allow.
Result<std::unique_ptr<CardBackend>> CreateTiledBackend(const ModelShape& shape, const CardOptions& options,
                                                        const IntegerConstants& constants, OpenCard open_card,
                                                        int64_t tiles = 0);

}  // namespace phidias::fpga
