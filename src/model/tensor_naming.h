#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "common/status.h"
#include "model/config.h"
#include "model/files/tensor_store.h"

namespace phidias {

// Where a checkpoint of one naming keeps the parts of a layer; each stem has a ".weight" and a ".bias".
struct LayerTensorStems {
  std::string input_layernorm;
  std::string q_proj;  // empty where the naming only knows the fused tensor
  std::string k_proj;
  std::string v_proj;
  std::string qkv;  // rows: all heads of q, then of k, then of v; empty where the naming only knows separate ones
  std::string dense;
  std::string fc1;
  std::string fc2;
};

struct ModelTensorStems {
  std::string embed_tokens;  // has no bias
  std::string final_layernorm;
  std::string lm_head;
};

LayerTensorStems LayerStems(TensorNaming naming, int64_t layer);
ModelTensorStems ModelStems(TensorNaming naming, int64_t n_layers);

// "phi", "phi-msft", "mixformer-sequential", "GGUF".
std::string_view NamingName(TensorNaming naming);

// The naming that most of the tensors' names belong to; none if no name belongs to any.
std::optional<TensorNaming> DetectTensorNaming(const TensorStore& store);

// Leftovers of older code that hold no parameters: tables of the rotary embedding.
bool IsIgnoredTensor(std::string_view name);

// A stored name that is probably meant by `expected`: with another prefix, or differing in a short part only. Names in
// `store` for which `is_taken` holds don't count. Empty if there is none.
std::string FindSimilarName(const TensorStore& store, std::string_view expected,
                            const std::function<bool(const std::string&)>& is_taken);

// What stored names look like, for messages: `3 tensors, among them "a", "b" and "c"`.
std::string DescribeNames(const TensorStore& store);

}  // namespace phidias
