#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "backend/fpga/host_ops.h"
#include "backend/fpga/placement.h"
#include "common/status.h"

namespace phidias::fpga {

// A model's weights as the packer takes them; the pointers are the caller's.
struct CardWeights {
  struct Layer {
    const LayerNormWeights* norm = nullptr;
    std::array<const LinearWeights*, 6> linears{};  // by LinearRole, kQ to kFc2
  };

  ModelShape shape;
  std::vector<Layer> layers;
  const LayerNormWeights* final_norm = nullptr;
  const LinearWeights* lm_head = nullptr;

  // kFinalNorm: final_layernorm.
  const LayerNormWeights& Norm(int64_t layer) const {
    return layer == kFinalNorm ? *final_norm : *layers[static_cast<size_t>(layer)].norm;
  }
  const LinearWeights& Linear(LinearRole role, int64_t layer) const {
    return role == LinearRole::kLmHead ? *lm_head
                                       : *layers[static_cast<size_t>(layer)].linears[static_cast<size_t>(role)];
  }
};

// What the plan has to know of the weights: lm_head's type, and the linear layers that the card can't hold. Those must
// be in `host_ops`, else the error names the tensor, what it is and the ways out.
Result<PlacementOptions> CheckWeights(const CardWeights& weights, HostOps host_ops);

// Tells a packed file's origin: samples of all that is packed, and the sizes of the model.
uint64_t ModelFingerprint(const CardWeights& weights);
// The design's constants that the layout and the wiring depend on.
uint64_t DesignFingerprint(const hls::DesignPoint& design);

}  // namespace phidias::fpga
