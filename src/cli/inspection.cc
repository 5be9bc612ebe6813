#include "cli/inspection.h"

#include <algorithm>
#include <cstdio>
#include <initializer_list>
#include <set>
#include <string_view>

namespace phidias::cli {
namespace {

bool ContainsAny(std::string_view name, std::initializer_list<std::string_view> parts) {
  return std::any_of(parts.begin(), parts.end(),
                     [name](std::string_view part) { return name.find(part) != std::string_view::npos; });
}

const char* NamingName(TensorNaming naming) {
  switch (naming) {
    case TensorNaming::kPhi: return "phi";
    case TensorNaming::kPhiMsft: return "phi-msft";
    case TensorNaming::kMixformerSequential: return "mixformer-sequential";
    case TensorNaming::kGguf: return "gguf";
  }
  return "unknown";
}

template <class... Values>
std::string Format(const char* format, Values... values) {
  char line[256];
  std::snprintf(line, sizeof line, format, values...);
  return line;
}

// "12.5 M".
std::string HumanCount(int64_t count) {
  const auto value = static_cast<double>(count);
  if (count >= 1'000'000'000) {
    return Format("%.2f G", value / 1e9);
  }
  return count >= 1'000'000 ? Format("%.1f M", value / 1e6) : Format("%.1f k", value / 1e3);
}

std::string Join(const std::vector<std::string>& items) {
  std::string out;
  for (const std::string& item : items) {
    out += (out.empty() ? "" : ", ") + item;
  }
  return out;
}

std::string IdList(const std::vector<int32_t>& ids) {
  std::vector<std::string> items;
  for (const int32_t id : ids) {
    items.push_back(std::to_string(id));
  }
  return items.empty() ? "none" : Join(items);
}

int32_t IdsWithText(const Tokenizer& tokenizer) {
  int32_t count = 0;
  for (int32_t id = 0; id < tokenizer.size(); ++id) {
    count += tokenizer.HasText(id) ? 1 : 0;
  }
  return count;
}

std::string ConfigText(const PhiConfig& c) {
  std::string out;
  const auto number = [&out](const char* label, int64_t value) {
    out += Format("%-24s%lld\n", label, static_cast<long long>(value));
  };
  out += Format("%-24s%s\n", "naming", NamingName(c.naming));
  number("layers", c.n_layers);
  number("hidden size", c.hidden_size);
  number("intermediate size", c.intermediate_size);
  number("heads", c.n_heads);
  number("key/value heads", c.n_kv_heads);
  number("head dimension", c.head_dim);
  number("rotary dimension", c.rotary_dim);
  number("vocabulary", c.vocab_size);
  number("context", c.max_position_embeddings);
  out += Format("%-24s%g\n%-24s%g\n", "rope theta", c.rope_theta, "layer norm epsilon",
                static_cast<double>(c.layer_norm_eps));
  out += Format("%-24s%s\n", "tied embeddings", c.tie_word_embeddings ? "yes" : "no");
  return out + StrCat("eos ids                 ", IdList(c.eos_token_ids), "\n");
}

std::string SizeLine(const char* name, const PartSize& size) {
  return Format("  %-22s%6lld tensors %15lld parameters (%s) %15lld bytes (%s)\n", name,
                static_cast<long long>(size.tensors), static_cast<long long>(size.parameters),
                HumanCount(size.parameters).c_str(), static_cast<long long>(size.bytes),
                HumanBytes(static_cast<uint64_t>(size.bytes)).c_str());
}

std::string SizesText(const Inspection& inspection) {
  std::string out = StrCat("\nweights (", Join(inspection.dtypes), ")\n");
  for (size_t i = 0; i < kModelParts; ++i) {
    if (inspection.parts[i].tensors > 0) {
      out += SizeLine(PartName(static_cast<ModelPart>(i)), inspection.parts[i]);
    }
  }
  out += SizeLine("total", inspection.total);
  const int64_t full = inspection.kv_bytes_per_position * inspection.checkpoint->config.max_position_embeddings;
  return out + StrCat("\nKV cache (F32)          ", inspection.kv_bytes_per_position, " bytes per position, ", full,
                      " bytes (", HumanBytes(static_cast<uint64_t>(full)), ") for the whole context\n");
}

std::string TokenizerText(const Inspection& inspection) {
  if (inspection.tokenizer == nullptr) {
    return StrCat("tokenizer               ",
                  inspection.tokenizer_error.empty() ? "none" : "can't be used: " + inspection.tokenizer_error, "\n");
  }
  return StrCat("tokenizer               ", IdsWithText(*inspection.tokenizer), " ids with text, the largest is ",
                inspection.tokenizer->size() - 1, "\n");
}

Json SizeJson(const PartSize& size) {
  return {{"tensors", size.tensors}, {"parameters", size.parameters}, {"bytes", size.bytes}};
}

Json ConfigJson(const PhiConfig& c) {
  return {{"naming", NamingName(c.naming)},
          {"vocab_size", c.vocab_size},
          {"hidden_size", c.hidden_size},
          {"intermediate_size", c.intermediate_size},
          {"num_hidden_layers", c.n_layers},
          {"num_attention_heads", c.n_heads},
          {"num_key_value_heads", c.n_kv_heads},
          {"head_dim", c.head_dim},
          {"rotary_dim", c.rotary_dim},
          {"max_position_embeddings", c.max_position_embeddings},
          {"layer_norm_eps", c.layer_norm_eps},
          {"rope_theta", c.rope_theta},
          {"tie_word_embeddings", c.tie_word_embeddings},
          {"bos_token_id", c.bos_token_id.has_value() ? Json(*c.bos_token_id) : Json()},
          {"eos_token_ids", c.eos_token_ids},
          {"torch_dtype", c.torch_dtype}};
}

Json TokenizerJson(const Inspection& inspection) {
  if (inspection.tokenizer != nullptr) {
    return {{"size", inspection.tokenizer->size()}, {"ids_with_text", IdsWithText(*inspection.tokenizer)}};
  }
  return inspection.tokenizer_error.empty() ? Json() : Json{{"error", inspection.tokenizer_error}};
}

}  // namespace

const char* PartName(ModelPart part) {
  switch (part) {
    case ModelPart::kEmbedding: return "embedding";
    case ModelPart::kAttention: return "attention";
    case ModelPart::kMlp: return "mlp";
    case ModelPart::kNorms: return "norms";
    case ModelPart::kLmHead: return "lm_head";
    case ModelPart::kOther: break;
  }
  return "other";
}

ModelPart PartOf(const std::string& tensor_name, const PhiConfig& config) {
  const std::string_view name = tensor_name;
  // Mixformer's head is a layer like the others: layers.{n_layers + 1}.linear.
  const std::string mixformer_head = StrCat("layers.", config.n_layers + 1, ".linear.");
  if (ContainsAny(name, {"inv_freq", "rope_freqs"})) {
    return ModelPart::kOther;
  }
  if (ContainsAny(name, {"layernorm.", ".ln.", "attn_norm.", "output_norm."})) {
    return ModelPart::kNorms;
  }
  if (ContainsAny(name, {"embed_tokens.", "wte.", "token_embd."})) {
    return ModelPart::kEmbedding;
  }
  if (ContainsAny(name, {".self_attn.", ".mixer.", ".attn_"})) {
    return ModelPart::kAttention;
  }
  if (ContainsAny(name, {".mlp.", ".ffn_"})) {
    return ModelPart::kMlp;
  }
  const bool head = name.starts_with("lm_head.") || name.starts_with("output.") || name.starts_with(mixformer_head);
  return head ? ModelPart::kLmHead : ModelPart::kOther;
}

Result<Inspection> InspectCheckpoint(const Checkpoint& checkpoint) {
  Inspection out;
  out.path = checkpoint.path;
  out.checkpoint = &checkpoint;
  std::set<std::string> dtypes;
  for (const auto& [name, tensor] : checkpoint.store.tensors) {
    ASSIGN_OR_RETURN(const int64_t elements, ElementCount(tensor.shape));
    const ModelPart part = PartOf(name, checkpoint.config);
    for (PartSize* size : {&out.parts[static_cast<size_t>(part)], &out.total}) {
      if (part == ModelPart::kOther && size == &out.total) {
        continue;
      }
      size->tensors += 1;
      size->parameters += elements;
      size->bytes += static_cast<int64_t>(tensor.bytes);
    }
    dtypes.emplace(DTypeName(tensor.dtype));
  }
  out.dtypes.assign(dtypes.begin(), dtypes.end());
  out.kv_bytes_per_position =
      2 * checkpoint.config.n_layers * checkpoint.config.kv_size() * static_cast<int64_t>(sizeof(float));
  return out;
}

std::string InspectionText(const Inspection& inspection, bool tensors) {
  std::string out = StrCat("model                   ", inspection.path, "\n", ConfigText(inspection.checkpoint->config),
                           SizesText(inspection), TokenizerText(inspection));
  if (tensors) {
    out += "\n";
    for (const auto& [name, tensor] : inspection.checkpoint->store.tensors) {
      // Names and paths come from files: quoted, they can't play tricks on a terminal.
      out += StrCat(Quoted(name, kMaxTensorNameBytes), "\t", DTypeName(tensor.dtype), "\t", ShapeString(tensor.shape),
                    "\t", tensor.file, "\n");
    }
  }
  return out;
}

Json InspectionJson(const Inspection& inspection) {
  Json parts = Json::object();
  for (size_t i = 0; i < kModelParts; ++i) {
    parts[PartName(static_cast<ModelPart>(i))] = SizeJson(inspection.parts[i]);
  }
  const int64_t context = inspection.checkpoint->config.max_position_embeddings;
  Json out = {{"model", inspection.path},
              {"config", ConfigJson(inspection.checkpoint->config)},
              {"dtypes", inspection.dtypes},
              {"total", SizeJson(inspection.total)},
              {"parts", std::move(parts)},
              {"kv_cache",
               {{"dtype", "F32"},
                {"bytes_per_position", inspection.kv_bytes_per_position},
                {"bytes_full_context", inspection.kv_bytes_per_position * context}}},
              {"tokenizer", TokenizerJson(inspection)}};
  Json& list = out["tensors"] = Json::array();
  for (const auto& [name, tensor] : inspection.checkpoint->store.tensors) {
    list.push_back({{"name", name},
                    {"dtype", std::string(DTypeName(tensor.dtype))},
                    {"shape", tensor.shape},
                    {"bytes", tensor.bytes},
                    {"file", tensor.file}});
  }
  return out;
}

}  // namespace phidias::cli
