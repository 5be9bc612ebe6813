// Any bytes as config.json (and, after a NUL byte, as generation_config.json): an answer or an error, and an answer
// satisfies what PhiConfig promises. The configuration then binds against an empty store and one odd tensor.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "model/checkpoint.h"
#include "model/config.h"

namespace {

void Require(bool condition) {
  if (!condition) {
    std::abort();
  }
}

void CheckPromises(const phidias::PhiConfig& config) {
  Require(config.vocab_size >= 1 && config.vocab_size <= phidias::kMaxVocabSize);
  Require(config.n_heads >= 1 && config.n_heads * config.head_dim == config.hidden_size);
  Require(config.n_kv_heads >= 1 && config.n_heads % config.n_kv_heads == 0);
  Require(config.rotary_dim >= 2 && config.rotary_dim % 2 == 0 && config.rotary_dim <= config.head_dim);
  Require(config.intermediate_size >= 1 && config.n_layers >= 1 && config.max_position_embeddings >= 1);
  Require(config.layer_norm_eps > 0.0F && config.rope_theta >= 1.0);
  for (const int32_t id : config.eos_token_ids) {
    Require(id >= 0 && id < config.vocab_size);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string input(reinterpret_cast<const char*>(data), size);
  const size_t border = input.find('\0');
  const std::string generation = border == std::string::npos ? "" : input.substr(border + 1);
  phidias::Result<phidias::PhiConfig> config =
      phidias::ParsePhiConfig(input.substr(0, border), "config.json", generation, "generation_config.json");
  if (!config.ok()) {
    Require(!config.status().message().empty() && config.status().message().size() < 1000);
    return 0;
  }
  CheckPromises(config.value());
  phidias::TensorStore store;
  Require(!phidias::BindPhiWeights(config.value(), store, "dir").ok());
  const std::byte bytes[4] = {};
  Require(store.Add({"layers.0.wte.weight", "f", phidias::DType::kF32, {1, 1}, bytes, sizeof bytes}).ok());
  if (phidias::AdaptConfigToTensors(store, "dir", &config.value()).ok()) {
    CheckPromises(config.value());
    Require(!phidias::BindPhiWeights(config.value(), store, "dir").ok());
  }
  return 0;
}
