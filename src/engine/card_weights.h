#pragma once

#include "backend/fpga/card_weights.h"
#include "backend/fpga/tiled_pack.h"
#include "common/status.h"
#include "model/checkpoint.h"

namespace phidias {

// The weights of an open checkpoint as a card's plan and packer take them; they point into it.
fpga::CardWeights CardWeightsOf(const Checkpoint& checkpoint);

// Likewise for the design `tiled`. Error: the checkpoint has no constants of the integer arithmetic.
Result<fpga::TiledWeights> TiledWeightsOf(const Checkpoint& checkpoint);

}  // namespace phidias
