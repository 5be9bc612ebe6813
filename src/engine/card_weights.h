#pragma once

#include "backend/fpga/card_weights.h"
#include "model/checkpoint.h"

namespace phidias {

// The weights of an open checkpoint as a card's plan and packer take them; they point into it.
fpga::CardWeights CardWeightsOf(const Checkpoint& checkpoint);

}  // namespace phidias
