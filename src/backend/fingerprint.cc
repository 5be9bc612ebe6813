#include "backend/fingerprint.h"

namespace phidias {
namespace {

constexpr size_t kWhole = 4096;  // bytes of a tensor that are all read
constexpr size_t kPiece = 64;
constexpr size_t kPieces = 64;  // of a larger one, evenly spread

}  // namespace

void AddShape(const ModelShape& shape, Fingerprint* fingerprint) {
  for (const int64_t number :
       {shape.n_layers, shape.hidden_size, shape.intermediate_size, shape.n_heads, shape.n_kv_heads, shape.head_dim,
        shape.rotary_dim, shape.vocab_size, shape.max_positions}) {
    fingerprint->Add(number);
  }
  fingerprint->Add(std::as_bytes(std::span(&shape.rope_theta, 1)));
  fingerprint->Add(std::as_bytes(std::span(&shape.layer_norm_eps, 1)));
}

void AddSamples(std::span<const std::byte> bytes, Fingerprint* fingerprint) {
  if (bytes.size() <= kWhole) {
    fingerprint->Add(bytes);
    return;
  }
  for (size_t i = 0; i < kPieces; ++i) {
    fingerprint->Add(bytes.subspan((bytes.size() - kPiece) / (kPieces - 1) * i, kPiece));
  }
}

void AddWeights(const WeightMatrix& weight, Fingerprint* fingerprint) {
  AddSamples({weight.data, static_cast<size_t>(weight.rows * weight.RowBytes())}, fingerprint);
}

void AddWeights(const LinearWeights& linear, Fingerprint* fingerprint) {
  const WeightMatrix& w = linear.weight;
  fingerprint->Add(static_cast<int64_t>(w.dtype));
  fingerprint->Add(w.rows);
  fingerprint->Add(w.cols);
  AddWeights(w, fingerprint);
  AddSamples(std::as_bytes(std::span(linear.bias)), fingerprint);
  AddSamples(std::as_bytes(std::span(linear.quant.scale)), fingerprint);
  AddSamples(std::as_bytes(std::span(linear.quant.zero_point)), fingerprint);
  if (w.dtype == DType::kI4) {
    fingerprint->Add(linear.quant.group);
    AddSamples(std::as_bytes(std::span(linear.quant.multiplier)), fingerprint);
  }
  fingerprint->Add(static_cast<int64_t>(linear.input.kind));
  fingerprint->Add(linear.input.symmetric ? 1 : 0);
  fingerprint->Add(std::as_bytes(std::span(&linear.input.scale, 1)));
  fingerprint->Add(linear.input.zero_point);
}

void AddWeights(const LayerNormWeights& norm, Fingerprint* fingerprint) {
  AddSamples(std::as_bytes(std::span(norm.weight)), fingerprint);
  AddSamples(std::as_bytes(std::span(norm.bias)), fingerprint);
}

}  // namespace phidias
