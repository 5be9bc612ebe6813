#include "quant/fingerprint.h"

namespace phidias {

std::string CheckpointFingerprint(const Checkpoint& checkpoint) {
  const PhiConfig& c = checkpoint.config;
  Fingerprint fingerprint;
  for (const int64_t number : {c.vocab_size, c.hidden_size, c.intermediate_size, c.n_layers, c.n_heads, c.n_kv_heads,
                               c.head_dim, c.rotary_dim, c.max_position_embeddings}) {
    fingerprint.Add(number);
  }
  fingerprint.Add(std::as_bytes(std::span(&c.rope_theta, 1)));
  fingerprint.Add(std::as_bytes(std::span(&c.layer_norm_eps, 1)));
  const PhiWeights& w = checkpoint.weights;
  AddWeights(w.embed_tokens, &fingerprint);
  for (const PhiLayerWeights& layer : w.layers) {
    AddWeights(layer.input_layernorm, &fingerprint);
    for (const LinearWeights* linear :
         {&layer.q_proj, &layer.k_proj, &layer.v_proj, &layer.dense, &layer.fc1, &layer.fc2}) {
      AddWeights(*linear, &fingerprint);
    }
  }
  AddWeights(w.final_layernorm, &fingerprint);
  AddWeights(w.lm_head, &fingerprint);
  return fingerprint.Hex();
}

}  // namespace phidias
