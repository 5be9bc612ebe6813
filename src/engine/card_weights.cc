#include "engine/card_weights.h"

#include "engine/loaded_model.h"
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

Result<fpga::TiledWeights> TiledWeightsOf(const Checkpoint& checkpoint) {
  RETURN_IF_ERROR(CheckIntegerConstants(checkpoint));
  const PhiWeights& from = checkpoint.weights;
  fpga::TiledWeights weights = {.shape = ShapeOf(checkpoint.config), .sources = {}, .constants = *checkpoint.integer};
  IntegerSources& sources = weights.sources;
  sources.embed_tokens = from.embed_tokens;
  for (const PhiLayerWeights& layer : from.layers) {
    sources.layers.push_back({.input_layernorm = &layer.input_layernorm,
                              .q_proj = &layer.q_proj,
                              .k_proj = &layer.k_proj,
                              .v_proj = &layer.v_proj,
                              .dense = &layer.dense,
                              .fc1 = &layer.fc1,
                              .fc2 = &layer.fc2});
  }
  sources.final_layernorm = &from.final_layernorm;
  sources.lm_head = &from.lm_head;
  return weights;
}

}  // namespace phidias
