#include "quant/model_files.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <utility>

#include "common/file.h"
#include "model/files/gguf.h"
#include "model/files/json_fields.h"
#include "model/quantization_config.h"
#include "model/tokenizer/gguf_tokenizer.h"

namespace phidias {
namespace {

using OrderedJson = nlohmann::ordered_json;

constexpr size_t kMaxCopiedFile = size_t{64} << 20;
constexpr const char* kTokenizerFiles[] = {"tokenizer.json",     "tokenizer_config.json", "vocab.json",
                                           "merges.txt",         "added_tokens.json",     "special_tokens_map.json",
                                           "chat_template.jinja"};

// The directory that the checkpoint's files lie in.
std::string Directory(const Checkpoint& source) {
  if (IsDirectory(source.path)) {
    return source.path;
  }
  const size_t slash = source.path.rfind('/');
  return slash == std::string::npos ? "." : source.path.substr(0, slash);
}

// The shortest decimal that reads back as the same float32, as a JSON number.
double ShortDecimal(float value) {
  char text[64];
  const auto end = std::to_chars(text, text + sizeof text, value).ptr;
  return std::strtod(std::string(text, end).c_str(), nullptr);
}

// A factor of which int(head_dim * factor) is rotary_dim again.
double RotaryFactor(const PhiConfig& config) {
  const auto head_dim = static_cast<double>(config.head_dim);
  double factor = static_cast<double>(config.rotary_dim) / head_dim;
  while (static_cast<int64_t>(head_dim * factor) < config.rotary_dim) {
    factor = std::nextafter(factor, 2.0);
  }
  return factor;
}

const char* TorchDType(DType dtype) {
  return dtype == DType::kF32 ? "float32" : dtype == DType::kBF16 ? "bfloat16" : "float16";
}

Status CopyFileInto(const std::string& name, const std::string& from, const std::string& to) {
  const std::string path = from + "/" + name;
  if (!FileExists(path)) {
    return {};
  }
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxCopiedFile));
  return WriteFile(to + "/" + name, text);
}

// Name, range of the weight's scales, the input's scale.
OrderedJson LinearReport(const LinearPlan& linear) {
  OrderedJson json = {{"name", linear.name}};
  if (!linear.quantize) {
    json["weights"] = "float";
  } else {
    const auto [least, most] = std::minmax_element(linear.quant.scale.begin(), linear.quant.scale.end());
    json["weight_scale_min"] = ShortDecimal(*least);
    json["weight_scale_max"] = ShortDecimal(*most);
    json["bits"] = linear.FourBits() ? 4 : 8;
  }
  if (linear.input.kind == InputQuant::Kind::kStatic) {
    json["input_scale"] = ShortDecimal(linear.input.scale);
    json["input_zero_point"] = linear.input.zero_point;
  } else {
    json["input"] = linear.input.kind == InputQuant::Kind::kDynamic ? "dynamic" : "float";
  }
  return json;
}

// The schemes of the linear layers: one for all, or 4 bits for all but those that are named.
std::vector<TargetedScheme> GroupsOf(const QuantPlan& plan) {
  QuantizationScheme scheme;
  scheme.weights = WeightScheme{.symmetric = plan.scheme.weights != RangeKind::kAsymmetric,
                                .per_channel = plan.scheme.granularity == Granularity::kChannel};
  const RangeKind inputs = plan.scheme.activations;
  if (inputs != RangeKind::kNone) {
    scheme.input = inputs == RangeKind::kDynamic ? InputQuant::Kind::kDynamic : InputQuant::Kind::kStatic;
    scheme.input_symmetric = inputs == RangeKind::kDynamic || inputs == RangeKind::kSymmetric;
  }
  if (!plan.FourBits()) {
    return {{{"Linear"}, scheme}};
  }
  QuantizationScheme four = scheme;
  four.weights = WeightScheme{.symmetric = true, .per_channel = true, .bits = 4, .group = plan.scheme.group};
  std::vector<std::string> eight = plan.eight_bits;
  if (plan.lm_head.quantize) {
    eight.push_back(plan.lm_head.name);
  }
  std::vector<TargetedScheme> groups = {{{"Linear"}, four}};
  if (!eight.empty()) {
    groups.push_back({std::move(eight), scheme});
  }
  return groups;
}

}  // namespace

Json NewConfigJson(const PhiConfig& c, DType dtype) {
  Json json = {{"architectures", {"PhiForCausalLM"}},
               {"attention_dropout", 0.0},
               {"embd_pdrop", 0.0},
               {"hidden_act", "gelu_new"},
               {"hidden_size", c.hidden_size},
               {"initializer_range", 0.02},
               {"intermediate_size", c.intermediate_size},
               {"layer_norm_eps", ShortDecimal(c.layer_norm_eps)},
               {"max_position_embeddings", c.max_position_embeddings},
               {"model_type", "phi"},
               {"num_attention_heads", c.n_heads},
               {"num_hidden_layers", c.n_layers},
               {"num_key_value_heads", c.n_kv_heads},
               {"partial_rotary_factor", RotaryFactor(c)},
               {"qk_layernorm", false},
               {"resid_pdrop", 0.0},
               {"rope_scaling", nullptr},
               {"rope_theta", c.rope_theta},
               {"tie_word_embeddings", c.tie_word_embeddings},
               {"torch_dtype", TorchDType(dtype)},
               {"use_cache", true},
               {"vocab_size", c.vocab_size}};
  if (c.bos_token_id) {
    json["bos_token_id"] = *c.bos_token_id;
  }
  if (c.eos_token_ids.size() == 1) {
    json["eos_token_id"] = c.eos_token_ids.front();
  } else if (!c.eos_token_ids.empty()) {
    json["eos_token_id"] = c.eos_token_ids;
  }
  return json;
}

Result<std::string> QuantizedConfigText(const Checkpoint& source, const QuantPlan& plan) {
  Json json;
  const std::string path = Directory(source) + "/config.json";
  if (source.config.naming == TensorNaming::kPhi && FileExists(path)) {
    ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxConfigBytes));
    ASSIGN_OR_RETURN(json, ParseJsonObject(text, path));
  } else {
    json = NewConfigJson(source.config, source.weights.embed_tokens.dtype);
  }
  json["vocab_size"] = source.config.vocab_size;
  if (plan.lm_head.quantize) {
    json["tie_word_embeddings"] = false;  // the int8 lm_head is a matrix of its own
  }
  std::vector<std::string> ignore = plan.skipped;
  if (!plan.lm_head.quantize && std::find(ignore.begin(), ignore.end(), plan.lm_head.name) == ignore.end()) {
    ignore.push_back(plan.lm_head.name);
  }
  OrderedJson ordered = OrderedJson::parse(json.dump(-1, ' ', false, Json::error_handler_t::replace));
  ordered["quantization_config"] = QuantizationConfigJson(GroupsOf(plan), ignore);
  return ordered.dump(2) + "\n";
}

std::string TokenizerJsonText(const TokenizerParts& parts) {
  Json vocab = Json::object();
  for (size_t id = 0; id < parts.vocab.size(); ++id) {
    if (!parts.vocab[id].empty()) {
      vocab[parts.vocab[id]] = id;
    }
  }
  Json merges = Json::array();
  for (const auto& [left, right] : parts.merges) {
    merges.push_back(left + " " + right);
  }
  Json added = Json::array();
  for (const AddedToken& token : parts.added) {
    added.push_back({{"id", token.id},
                     {"content", token.content},
                     {"single_word", token.single_word},
                     {"lstrip", token.lstrip},
                     {"rstrip", token.rstrip},
                     {"normalized", token.normalized},
                     {"special", token.special}});
  }
  const Json byte_level = {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}};
  const Json json = {{"version", "1.0"},
                     {"truncation", nullptr},
                     {"padding", nullptr},
                     {"added_tokens", added},
                     {"normalizer", nullptr},
                     {"pre_tokenizer", byte_level},
                     {"post_processor", byte_level},
                     {"decoder", byte_level},
                     {"model",
                      {{"type", "BPE"},
                       {"dropout", nullptr},
                       {"unk_token", nullptr},
                       {"continuing_subword_prefix", ""},
                       {"end_of_word_suffix", ""},
                       {"fuse_unk", false},
                       {"byte_fallback", false},
                       {"vocab", vocab},
                       {"merges", merges}}}};
  return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

Status WriteTokenizerFiles(const Checkpoint& source, const std::string& dir) {
  if (source.config.naming == TensorNaming::kGguf) {
    ASSIGN_OR_RETURN(const GgufFile gguf, ReadGguf(source.store.files.front()->path()));
    ASSIGN_OR_RETURN(const TokenizerParts parts, GgufTokenizerParts(gguf));
    RETURN_IF_ERROR(Tokenizer::FromParts(parts).status());
    return WriteFile(dir + "/tokenizer.json", TokenizerJsonText(parts));
  }
  const std::string from = Directory(source);
  RETURN_IF_ERROR(CopyTokenizerFiles(from, dir));
  return CopyFileInto("generation_config.json", from, dir);
}

Status CopyTokenizerFiles(const std::string& from, const std::string& to) {
  for (const char* name : kTokenizerFiles) {
    RETURN_IF_ERROR(CopyFileInto(name, from, to));
  }
  return {};
}

OrderedJson PlanReport(const QuantPlan& plan) {
  const QuantScheme& scheme = plan.scheme;
  OrderedJson json;
  json["scheme"] = {{"description", DescribeScheme(scheme)},
                    {"weights", RangeKindName(scheme.weights)},
                    {"granularity", GranularityName(scheme.granularity)},
                    {"activations", RangeKindName(scheme.activations)},
                    {"percentile", scheme.percentile},
                    {"lm_head", LmHeadName(scheme.lm_head)},
                    {"arithmetic", scheme.integer ? "integer" : "float"}};
  json["skipped"] = plan.skipped;
  const auto alpha = [](const std::optional<double>& value) { return value ? OrderedJson(*value) : OrderedJson(); };
  OrderedJson smoothing = OrderedJson::array();
  for (const LayerPlan& layer : plan.layers) {
    smoothing.push_back({{"layer_norm", alpha(layer.norm_alpha)}, {"values", alpha(layer.dense_alpha)}});
  }
  json["smoothing_alpha_per_layer"] = std::move(smoothing);
  OrderedJson linears = OrderedJson::array();
  for (const LinearPlan* linear : plan.Linears()) {
    linears.push_back(LinearReport(*linear));
  }
  json["linear_layers"] = std::move(linears);
  return json;
}

}  // namespace phidias
