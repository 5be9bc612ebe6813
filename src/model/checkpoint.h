#pragma once

#include <optional>
#include <string>
#include <vector>

#include "backend/integer_constants.h"
#include "backend/weights.h"
#include "common/status.h"
#include "model/config.h"
#include "model/files/tensor_store.h"

namespace phidias {

class Int4Binder;

struct PhiLayerWeights {
  LayerNormWeights input_layernorm;
  LinearWeights q_proj;  // [n_heads * head_dim, hidden]
  LinearWeights k_proj;  // [n_kv_heads * head_dim, hidden]
  LinearWeights v_proj;
  LinearWeights dense;  // [hidden, n_heads * head_dim]
  LinearWeights fc1;    // [intermediate, hidden]
  LinearWeights fc2;    // [hidden, intermediate]
};

// Views into `Checkpoint::store`; norms and biases are small and held as float32. Names are always those of the `phi`
// kind ("model.layers.0.self_attn.q_proj"), whatever the file calls them.
struct PhiWeights {
  WeightMatrix embed_tokens;  // [vocab_size, hidden_size]
  std::vector<PhiLayerWeights> layers;
  LayerNormWeights final_layernorm;
  LinearWeights lm_head;  // [vocab_size, hidden_size]
};

// A Phi model on disk, opened: configuration and memory-mapped weights.
struct Checkpoint {
  std::string path;  // as given by the user
  PhiConfig config;
  TensorStore store;
  PhiWeights weights;
  std::optional<IntegerConstants> integer;  // from phidias_integer.json beside the weights
  std::vector<std::string> warnings;        // what the user should know, each a sentence that names the file
};

// Settles what only the tensors can say: the naming (where config.json says one kind and the tensors are named as
// another's, the tensors win: the kinds differ in nothing else) and vocab_size (see PhiConfig::vocab_multiple). `path`
// names the checkpoint in messages.
Status AdaptConfigToTensors(const TensorStore& store, const std::string& path, PhiConfig* config);

// Finds every weight of a model of this configuration in `store`, by the names of `config.naming`. The store must hold
// exactly those (and tables of rotary embeddings, which are ignored), in the shapes that the configuration implies;
// int8 weights and their scales for the linear layers that `config.quantization` quantises. Errors name the tensor,
// what was found and what was expected. The views point into the store's memory. `warnings`, unless null, gets what is
// odd about the quantisation (patterns that match nothing, 4-bit weights that had to be fitted). `int4` finds the
// numbers of 4-bit layers; null: fitted without rounding anything anew.
Result<PhiWeights> BindPhiWeights(const PhiConfig& config, const TensorStore& store, const std::string& path,
                                  std::vector<std::string>* warnings = nullptr, Int4Binder* int4 = nullptr);

// Opens a checkpoint directory (config.json beside model.safetensors, sharded safetensors, pytorch_model.bin or its
// shards), or one file: *.gguf, or a *.safetensors / *.bin / *.pt with config.json beside it. What a file is, is told
// by its content, not by its name. Where a directory holds several kinds, safetensors wins over pytorch_model.bin, and
// a lone GGUF file is taken when there is neither. Errors name file, tensor or field, what was found, what was
// expected, and the way out where there is one.
Result<Checkpoint> OpenCheckpoint(const std::string& path);

}  // namespace phidias
