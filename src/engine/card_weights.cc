#include "engine/card_weights.h"

#include "model/phi.h"

namespace phidias {

fpga::CardWeights CardWeightsOf(const Checkpoint& checkpoint) {
  fpga::CardWeights weights;
  weights.shape = ShapeOf(checkpoint.config);
  for (const PhiLayerWeights& layer : checkpoint.weights.layers) {
    weights.layers.push_back(
        {.norm = &layer.input_layernorm,
         .linears = {&layer.q_proj, &layer.k_proj, &layer.v_proj, &layer.dense, &layer.fc1, &layer.fc2}});
  }
  weights.final_norm = &checkpoint.weights.final_layernorm;
  weights.lm_head = &checkpoint.weights.lm_head;
  return weights;
}

}  // namespace phidias
