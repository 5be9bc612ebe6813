#include "quant/fingerprint.h"

#include <algorithm>

namespace phidias {
namespace {

constexpr size_t kWhole = 4096;  // bytes of a tensor that are all read
constexpr size_t kPiece = 64;
constexpr size_t kPieces = 64;  // of a larger one, evenly spread

void AddBytes(std::span<const std::byte> bytes, Fingerprint* fingerprint) {
  if (bytes.size() <= kWhole) {
    fingerprint->Add(bytes);
    return;
  }
  for (size_t i = 0; i < kPieces; ++i) {
    fingerprint->Add(bytes.subspan((bytes.size() - kPiece) / (kPieces - 1) * i, kPiece));
  }
}

void AddLinear(const LinearWeights& linear, Fingerprint* fingerprint) {
  const WeightMatrix& w = linear.weight;
  fingerprint->Add(static_cast<int64_t>(w.dtype));
  fingerprint->Add(w.rows);
  fingerprint->Add(w.cols);
  AddBytes({w.data, static_cast<size_t>(w.rows * w.RowBytes())}, fingerprint);
  AddBytes(std::as_bytes(std::span(linear.bias)), fingerprint);
  AddBytes(std::as_bytes(std::span(linear.quant.scale)), fingerprint);
  AddBytes(std::as_bytes(std::span(linear.quant.zero_point)), fingerprint);
  fingerprint->Add(static_cast<int64_t>(linear.input.kind));
  fingerprint->Add(linear.input.symmetric ? 1 : 0);
  fingerprint->Add(std::as_bytes(std::span(&linear.input.scale, 1)));
  fingerprint->Add(linear.input.zero_point);
}

void AddNorm(const LayerNormWeights& norm, Fingerprint* fingerprint) {
  AddBytes(std::as_bytes(std::span(norm.weight)), fingerprint);
  AddBytes(std::as_bytes(std::span(norm.bias)), fingerprint);
}

}  // namespace

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
  AddBytes({w.embed_tokens.data, static_cast<size_t>(w.embed_tokens.rows * w.embed_tokens.RowBytes())}, &fingerprint);
  for (const PhiLayerWeights& layer : w.layers) {
    AddNorm(layer.input_layernorm, &fingerprint);
    for (const LinearWeights* linear :
         {&layer.q_proj, &layer.k_proj, &layer.v_proj, &layer.dense, &layer.fc1, &layer.fc2}) {
      AddLinear(*linear, &fingerprint);
    }
  }
  AddNorm(w.final_layernorm, &fingerprint);
  AddLinear(w.lm_head, &fingerprint);
  return fingerprint.Hex();
}

}  // namespace phidias
