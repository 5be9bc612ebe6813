#include "model/tensor_naming.h"

#include <algorithm>
#include <array>

namespace phidias {
namespace {

LayerTensorStems PhiLayer(int64_t layer) {
  const std::string prefix = StrCat("model.layers.", layer, ".");
  return {.input_layernorm = prefix + "input_layernorm",
          .q_proj = prefix + "self_attn.q_proj",
          .k_proj = prefix + "self_attn.k_proj",
          .v_proj = prefix + "self_attn.v_proj",
          .qkv = "",
          .dense = prefix + "self_attn.dense",
          .fc1 = prefix + "mlp.fc1",
          .fc2 = prefix + "mlp.fc2"};
}

// phi-msft and mixformer-sequential name alike below the layer.
LayerTensorStems FusedLayer(const std::string& prefix) {
  return {.input_layernorm = prefix + "ln",
          .q_proj = "",
          .k_proj = "",
          .v_proj = "",
          .qkv = prefix + "mixer.Wqkv",
          .dense = prefix + "mixer.out_proj",
          .fc1 = prefix + "mlp.fc1",
          .fc2 = prefix + "mlp.fc2"};
}

LayerTensorStems GgufLayer(int64_t layer) {
  const std::string prefix = StrCat("blk.", layer, ".");
  return {.input_layernorm = prefix + "attn_norm",
          .q_proj = prefix + "attn_q",
          .k_proj = prefix + "attn_k",
          .v_proj = prefix + "attn_v",
          .qkv = prefix + "attn_qkv",
          .dense = prefix + "attn_output",
          .fc1 = prefix + "ffn_up",
          .fc2 = prefix + "ffn_down"};
}

std::optional<TensorNaming> NamingOf(std::string_view name) {
  if (name.starts_with("model.layers.") || name.starts_with("model.embed_tokens.") ||
      name.starts_with("model.final_layernorm.")) {
    return TensorNaming::kPhi;
  }
  if (name.starts_with("transformer.")) {
    return TensorNaming::kPhiMsft;
  }
  if (name.starts_with("layers.") &&
      (name.find(".mixer.") != std::string_view::npos || name.find(".wte.") != std::string_view::npos)) {
    return TensorNaming::kMixformerSequential;
  }
  if (name.starts_with("blk.") || name.starts_with("token_embd.") || name.starts_with("output_norm.")) {
    return TensorNaming::kGguf;
  }
  return std::nullopt;
}

// Bytes that remain of the longer name after the common beginning and end of both are taken away.
size_t DifferingBytes(std::string_view a, std::string_view b) {
  const size_t shorter = std::min(a.size(), b.size());
  size_t front = 0;
  while (front < shorter && a[front] == b[front]) {
    ++front;
  }
  size_t back = 0;
  while (back < shorter - front && a[a.size() - 1 - back] == b[b.size() - 1 - back]) {
    ++back;
  }
  return std::max(a.size(), b.size()) - front - back;
}

bool DiffersInPrefixOnly(std::string_view a, std::string_view b) {
  const std::string_view longer = a.size() > b.size() ? a : b;
  const std::string_view shorter = a.size() > b.size() ? b : a;
  return longer.size() > shorter.size() && longer.ends_with(shorter) &&
         longer[longer.size() - shorter.size() - 1] == '.';
}

}  // namespace

LayerTensorStems LayerStems(TensorNaming naming, int64_t layer) {
  switch (naming) {
    case TensorNaming::kPhiMsft: return FusedLayer(StrCat("transformer.h.", layer, "."));
    case TensorNaming::kMixformerSequential: return FusedLayer(StrCat("layers.", layer + 1, "."));
    case TensorNaming::kGguf: return GgufLayer(layer);
    case TensorNaming::kPhi: break;
  }
  return PhiLayer(layer);
}

ModelTensorStems ModelStems(TensorNaming naming, int64_t n_layers) {
  switch (naming) {
    case TensorNaming::kPhiMsft: return {"transformer.embd.wte", "lm_head.ln", "lm_head.linear"};
    case TensorNaming::kMixformerSequential: {
      const std::string head = StrCat("layers.", n_layers + 1, ".");
      return {"layers.0.wte", head + "ln", head + "linear"};
    }
    case TensorNaming::kGguf: return {"token_embd", "output_norm", "output"};
    case TensorNaming::kPhi: break;
  }
  return {"model.embed_tokens", "model.final_layernorm", "lm_head"};
}

std::string_view NamingName(TensorNaming naming) {
  switch (naming) {
    case TensorNaming::kPhiMsft: return "phi-msft";
    case TensorNaming::kMixformerSequential: return "mixformer-sequential";
    case TensorNaming::kGguf: return "GGUF";
    case TensorNaming::kPhi: break;
  }
  return "phi";
}

std::optional<TensorNaming> DetectTensorNaming(const TensorStore& store) {
  std::array<size_t, 4> counts = {};
  for (const auto& [name, tensor] : store.tensors) {
    if (const std::optional<TensorNaming> naming = NamingOf(name)) {
      ++counts[static_cast<size_t>(*naming)];
    }
  }
  const auto most = std::max_element(counts.begin(), counts.end());
  return *most == 0 ? std::nullopt : std::optional(static_cast<TensorNaming>(most - counts.begin()));
}

bool IsIgnoredTensor(std::string_view name) {
  return name.ends_with("rotary_emb.inv_freq") || name.ends_with("rotary_emb.scale");
}

std::string FindSimilarName(const TensorStore& store, std::string_view expected,
                            const std::function<bool(const std::string&)>& is_taken) {
  constexpr size_t kMaxDifference = 16;
  std::string best;
  size_t best_difference = kMaxDifference + 1;
  for (const auto& [name, tensor] : store.tensors) {
    const size_t difference = DiffersInPrefixOnly(name, expected) ? 0 : DifferingBytes(name, expected);
    // More than half of the name must be the same: short names are all alike.
    if (difference < best_difference && 2 * difference < expected.size() && !is_taken(name)) {
      best = name;
      best_difference = difference;
    }
  }
  return best;
}

std::string DescribeNames(const TensorStore& store) {
  constexpr size_t kMaxShown = 3;
  if (store.tensors.empty()) {
    return "no tensors";
  }
  std::string out = StrCat(store.tensors.size(), store.tensors.size() == 1 ? " tensor: " : " tensors, among them ");
  size_t shown = 0;
  for (const auto& [name, tensor] : store.tensors) {
    out += StrCat(shown == 0 ? "" : ", ", Quoted(name));
    if (++shown == kMaxShown) {
      break;
    }
  }
  return out;
}

}  // namespace phidias
