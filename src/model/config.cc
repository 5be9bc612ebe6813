#include "model/config.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "model/files/json_fields.h"

namespace phidias {
namespace {

constexpr size_t kMaxEosTokens = 64;
constexpr double kMaxRopeTheta = 1e15;
constexpr int64_t kDefaultOldRotaryDim = 32;  // of the older kinds' configuration class
constexpr int64_t kDefaultOldVocabMultiple = 64;
constexpr double kDefaultPartialRotaryFactor = 0.5;
constexpr double kDefaultLayerNormEps = 1e-5;
constexpr double kDefaultRopeTheta = 10000.0;

Status CheckRange(const std::string& path, const char* field, int64_t value, int64_t min, int64_t max) {
  if (value < min || value > max) {
    return DataError(path, ": ", field, " is ", value, "; expected ", min, " to ", max);
  }
  return {};
}

constexpr const char* kSupportedKinds = "phi, phi-msft and mixformer-sequential are";

Status CheckArchitecture(const JsonFields& fields, std::optional<std::string>* architecture) {
  const Json* list = fields.Find("architectures");
  if (list == nullptr || (list->is_array() && list->empty())) {
    return {};
  }
  if (!list->is_array() || !list->front().is_string()) {
    return fields.WrongType("architectures", *list, "a list of names");
  }
  *architecture = list->front().get<std::string>();
  return {};
}

// `model_type` says it; where it is absent the architecture's name does, then the field names do.
Result<TensorNaming> DetectKind(const JsonFields& fields) {
  std::optional<std::string> type;
  std::optional<std::string> architecture;
  RETURN_IF_ERROR(fields.OptionalString("model_type", &type));
  RETURN_IF_ERROR(CheckArchitecture(fields, &architecture));
  if (type && *type != "phi" && *type != "phi-msft" && *type != "mixformer-sequential") {
    return Unsupported(fields.path(), ": model_type ", Quoted(*type), " isn't run here; ", kSupportedKinds);
  }
  const bool mixformer = architecture == "MixFormerSequentialForCausalLM";
  if (architecture && !mixformer && *architecture != "PhiForCausalLM") {
    return Unsupported(fields.path(), ": architecture ", Quoted(*architecture),
                       " isn't run here; PhiForCausalLM and MixFormerSequentialForCausalLM are");
  }
  if (type == "mixformer-sequential" || (!type && mixformer)) {
    return TensorNaming::kMixformerSequential;
  }
  if (type == "phi-msft") {
    return TensorNaming::kPhiMsft;
  }
  if (type == "phi" || architecture || (fields.Has("hidden_size") && fields.Has("layer_norm_eps"))) {
    return TensorNaming::kPhi;
  }
  if (fields.Has("n_embd") && fields.Has("rotary_dim")) {
    return TensorNaming::kPhiMsft;
  }
  return DataError(fields.path(),
                   ": neither model_type nor architectures nor the fields say that this is a Phi model; ",
                   "model_type phi, phi-msft or mixformer-sequential is expected");
}

// The names of the fields follow the kind, unless only the other kind's are there.
TensorNaming KindOfFields(const JsonFields& fields, TensorNaming kind) {
  const bool has_new = fields.Has("hidden_size");
  const bool has_old = fields.Has("n_embd");
  if (kind == TensorNaming::kPhi) {
    return !has_new && has_old ? TensorNaming::kPhiMsft : kind;
  }
  return has_new && !has_old ? TensorNaming::kPhi : kind;
}

// A checkpoint that says it is quantised; `compression_config` is what llm-compressor's predecessor called the field.
Status ReadQuantization(const JsonFields& fields, PhiConfig* config) {
  for (const char* field : {"quantization_config", "compression_config"}) {
    if (const Json* json = fields.Find(field); json != nullptr) {
      ASSIGN_OR_RETURN(config->quantization, ParseQuantizationConfig(*json, fields.path(), field));
      return {};
    }
  }
  return {};
}

Status CheckActivation(const JsonFields& fields, const char* field) {
  std::optional<std::string> name;
  RETURN_IF_ERROR(fields.OptionalString(field, &name));
  if (name && *name != "gelu_new" && *name != "gelu_pytorch_tanh") {
    return Unsupported(fields.path(), ": ", field, " ", Quoted(*name),
                       " isn't run here; \"gelu_new\" (or its alias \"gelu_pytorch_tanh\") is");
  }
  return {};
}

Status ReadSizes(const JsonFields& fields, PhiConfig* config) {
  const PhiFieldNames& names = FieldNames(config->naming);
  RETURN_IF_ERROR(fields.RequiredInt(names.vocab_size, 1, kMaxVocabSize, &config->vocab_size));
  RETURN_IF_ERROR(fields.RequiredInt(names.hidden_size, 1, kMaxHiddenSize, &config->hidden_size));
  RETURN_IF_ERROR(fields.RequiredInt(names.n_layers, 1, kMaxLayers, &config->n_layers));
  RETURN_IF_ERROR(fields.RequiredInt(names.n_heads, 1, kMaxHeads, &config->n_heads));
  RETURN_IF_ERROR(
      fields.RequiredInt(names.max_position_embeddings, 1, kMaxPositions, &config->max_position_embeddings));
  config->n_kv_heads = config->n_heads;
  RETURN_IF_ERROR(fields.OptionalInt(names.n_kv_heads, 1, kMaxHeads, &config->n_kv_heads));
  if (config->hidden_size % config->n_heads != 0) {
    return DataError(fields.path(), ": ", names.hidden_size, " ", config->hidden_size, " is not a multiple of ",
                     names.n_heads, " ", config->n_heads);
  }
  config->head_dim = config->hidden_size / config->n_heads;
  int64_t head_dim = config->head_dim;
  RETURN_IF_ERROR(fields.OptionalInt("head_dim", 1, kMaxHiddenSize, &head_dim));
  if (head_dim != config->head_dim) {
    return Unsupported(fields.path(), ": head_dim ", head_dim, " differs from ", names.hidden_size, " / ",
                       names.n_heads, " = ", config->head_dim);
  }
  return {};
}

Status ReadLayerNormEps(const JsonFields& fields, PhiConfig* config) {
  std::optional<double> eps = kDefaultLayerNormEps;
  const char* name = FieldNames(config->naming).layer_norm_eps;
  RETURN_IF_ERROR(fields.OptionalDouble(name, &eps));
  if (!(*eps > 0.0 && *eps <= 1.0)) {
    return DataError(fields.path(), ": ", name, " is ", *eps, "; expected more than 0 and at most 1");
  }
  config->layer_norm_eps = static_cast<float>(*eps);
  return {};
}

struct RopeFields {
  std::optional<double> theta;
  std::optional<double> partial_rotary_factor;
};

Status TakeConsistent(const JsonFields& fields, const std::string& field, std::optional<double> value,
                      std::optional<double>* out) {
  if (value && *out && **out != *value) {
    return DataError(fields.path(), ": ", field, " ", *value, " contradicts the value ", **out,
                     " that the file gives elsewhere");
  }
  if (value) {
    *out = value;
  }
  return {};
}

// `rope_scaling`, and what newer files write instead, `rope_parameters`: only plain rotary embeddings are run.
Status ReadRopeObject(const JsonFields& fields, const char* name, RopeFields* rope) {
  const Json* value = fields.Find(name);
  if (value == nullptr) {
    return {};
  }
  if (!value->is_object()) {
    return fields.WrongType(name, *value, "an object or null");
  }
  const JsonFields inner(*value, fields.path(), StrCat(name, "."));
  for (const char* type_field : {"rope_type", "type"}) {
    std::optional<std::string> type;
    RETURN_IF_ERROR(inner.OptionalString(type_field, &type));
    if (type && *type != "default") {
      return Unsupported(fields.path(), ": ", name, ".", type_field, " ", Quoted(*type),
                         " isn't run here; \"default\" is (no scaling of rotary embeddings)");
    }
  }
  const bool typed = inner.Has("rope_type") || inner.Has("type");
  if (!typed && inner.Has("factor")) {
    return Unsupported(fields.path(), ": ", name, " with a factor but no type isn't run here (no scaling of rotary ",
                       "embeddings)");
  }
  RopeFields found;
  RETURN_IF_ERROR(inner.OptionalDouble("rope_theta", &found.theta));
  RETURN_IF_ERROR(inner.OptionalDouble("partial_rotary_factor", &found.partial_rotary_factor));
  RETURN_IF_ERROR(TakeConsistent(fields, StrCat(name, ".rope_theta"), found.theta, &rope->theta));
  return TakeConsistent(fields, StrCat(name, ".partial_rotary_factor"), found.partial_rotary_factor,
                        &rope->partial_rotary_factor);
}

Status ReadRope(const JsonFields& fields, PhiConfig* config) {
  RopeFields rope;
  RETURN_IF_ERROR(fields.OptionalDouble("rope_theta", &rope.theta));
  RETURN_IF_ERROR(fields.OptionalDouble("partial_rotary_factor", &rope.partial_rotary_factor));
  RETURN_IF_ERROR(ReadRopeObject(fields, "rope_scaling", &rope));
  RETURN_IF_ERROR(ReadRopeObject(fields, "rope_parameters", &rope));
  config->rope_theta = rope.theta.value_or(kDefaultRopeTheta);
  const double factor = rope.partial_rotary_factor.value_or(kDefaultPartialRotaryFactor);
  if (!(factor > 0.0 && factor <= 1.0)) {
    return DataError(fields.path(), ": partial_rotary_factor is ", factor, "; expected more than 0 and at most 1");
  }
  // Hugging Face's int(head_dim * partial_rotary_factor), in double as there.
  config->rotary_dim = static_cast<int64_t>(static_cast<double>(config->head_dim) * factor);
  if (config->rotary_dim < 2 || config->rotary_dim % 2 != 0) {
    return Unsupported(fields.path(), ": partial_rotary_factor ", factor, " of head_dim ", config->head_dim,
                       " gives a rotary dimension of ", config->rotary_dim, "; expected an even number from 2");
  }
  return {};
}

// The fields of `phi`, as Hugging Face transformers writes them.
Status ReadPhiFields(const JsonFields& fields, PhiConfig* config) {
  RETURN_IF_ERROR(ReadSizes(fields, config));
  RETURN_IF_ERROR(fields.RequiredInt("intermediate_size", 1, kMaxIntermediateSize, &config->intermediate_size));
  RETURN_IF_ERROR(CheckActivation(fields, "hidden_act"));
  RETURN_IF_ERROR(ReadLayerNormEps(fields, config));
  bool qk_layernorm = false;
  RETURN_IF_ERROR(fields.OptionalBool("qk_layernorm", &qk_layernorm));
  if (qk_layernorm) {
    return Unsupported(fields.path(), ": qk_layernorm true isn't run here; false is");
  }
  return ReadRope(fields, config);
}

// mixformer-sequential says how its blocks are wired; phi-1 and phi-1.5 are "parallel".
Status CheckBlockWiring(const JsonFields& fields) {
  const Json* architecture = fields.Find("architecture");
  if (architecture == nullptr || !architecture->is_object()) {
    return {};
  }
  const JsonFields inner(*architecture, fields.path(), "architecture.");
  std::optional<std::string> block;
  RETURN_IF_ERROR(inner.OptionalString("block_cls", &block));
  if (block && *block != "parallel") {
    return Unsupported(fields.path(), ": architecture.block_cls ", Quoted(*block), " isn't run here; \"parallel\" is");
  }
  return {};
}

// The fields of `phi-msft` and `mixformer-sequential`.
Status ReadOldFields(const JsonFields& fields, PhiConfig* config) {
  RETURN_IF_ERROR(ReadSizes(fields, config));
  config->intermediate_size = 4 * config->hidden_size;
  RETURN_IF_ERROR(fields.OptionalInt("n_inner", 1, kMaxIntermediateSize, &config->intermediate_size));
  RETURN_IF_ERROR(CheckActivation(fields, "activation_function"));
  RETURN_IF_ERROR(CheckBlockWiring(fields));
  RETURN_IF_ERROR(ReadLayerNormEps(fields, config));
  config->vocab_multiple = kDefaultOldVocabMultiple;
  RETURN_IF_ERROR(fields.OptionalInt("pad_vocab_size_multiple", 1, kMaxVocabSize, &config->vocab_multiple));
  int64_t rotary_dim = kDefaultOldRotaryDim;
  RETURN_IF_ERROR(fields.OptionalInt("rotary_dim", 1, kMaxHiddenSize, &rotary_dim));
  config->rotary_dim = std::min(rotary_dim, config->head_dim);  // as the kinds' own code has it
  if (config->rotary_dim % 2 != 0) {
    return Unsupported(fields.path(), ": rotary_dim ", config->rotary_dim, " (head_dim is ", config->head_dim,
                       ") isn't run here; expected an even number from 2");
  }
  return {};
}

Result<int32_t> ReadTokenId(const JsonFields& fields, const char* field, const Json& value, int64_t vocab_size) {
  if (!value.is_number_integer()) {
    return fields.WrongType(field, value, "a token id, a list of them, or null");
  }
  const bool in_range = value.is_number_unsigned() && value.get<uint64_t>() < static_cast<uint64_t>(vocab_size);
  if (!in_range) {
    return DataError(fields.path(), ": ", field, " is ", ShowJson(value), "; expected 0 to ", vocab_size - 1,
                     " (the vocabulary has ", vocab_size, " rows)");
  }
  return static_cast<int32_t>(value.get<uint64_t>());
}

// bos_token_id and eos_token_id; each replaces what was there, where the file gives one.
Status ReadSpecialTokens(const JsonFields& fields, PhiConfig* config) {
  if (const Json* bos = fields.Find("bos_token_id"); bos != nullptr) {
    ASSIGN_OR_RETURN(config->bos_token_id, ReadTokenId(fields, "bos_token_id", *bos, config->vocab_size));
  }
  const Json* eos = fields.Find("eos_token_id");
  if (eos == nullptr) {
    return {};
  }
  const Json list = eos->is_array() ? *eos : Json::array({*eos});
  if (list.size() > kMaxEosTokens) {
    return DataError(fields.path(), ": eos_token_id lists ", list.size(), " tokens; at most ", kMaxEosTokens,
                     " are possible");
  }
  std::vector<int32_t> ids;
  for (const Json& value : list) {
    ASSIGN_OR_RETURN(const int32_t id, ReadTokenId(fields, "eos_token_id", value, config->vocab_size));
    if (std::find(ids.begin(), ids.end(), id) == ids.end()) {
      ids.push_back(id);
    }
  }
  if (!ids.empty()) {
    config->eos_token_ids = std::move(ids);
  }
  return {};
}

Status ReadTorchDtype(const JsonFields& fields, PhiConfig* config) {
  std::optional<std::string> dtype;
  RETURN_IF_ERROR(fields.OptionalString("torch_dtype", &dtype));
  RETURN_IF_ERROR(fields.OptionalString("dtype", &dtype));
  config->torch_dtype = dtype.value_or("");
  return {};
}

Status CheckSizesAgree(const PhiConfig& config, const std::string& path, const PhiFieldNames& names) {
  if (config.hidden_size % config.n_heads != 0) {
    return DataError(path, ": ", names.hidden_size, " ", config.hidden_size, " is not a multiple of ", names.n_heads,
                     " ", config.n_heads);
  }
  if (config.head_dim != config.hidden_size / config.n_heads) {
    return Unsupported(path, ": heads of ", config.head_dim, " dimensions; expected ", names.hidden_size, " / ",
                       names.n_heads, " = ", config.hidden_size / config.n_heads);
  }
  if (config.n_kv_heads > config.n_heads || config.n_heads % config.n_kv_heads != 0) {
    return DataError(path, ": ", names.n_heads, " ", config.n_heads, " is not a multiple of ", names.n_kv_heads, " ",
                     config.n_kv_heads);
  }
  if (config.rotary_dim < 2 || config.rotary_dim > config.head_dim || config.rotary_dim % 2 != 0) {
    return Unsupported(path, ": ", names.rotary, " gives a rotary dimension of ", config.rotary_dim,
                       "; expected an even number from 2 to ", config.head_dim, " (the head's dimension)");
  }
  return {};
}

Status CheckTokens(const PhiConfig& config, const std::string& path) {
  std::vector<int32_t> ids = config.eos_token_ids;
  if (config.bos_token_id) {
    ids.push_back(*config.bos_token_id);
  }
  for (const int32_t id : ids) {
    if (id < 0 || id >= config.vocab_size) {
      return DataError(path, ": bos or eos token id ", id, "; expected 0 to ", config.vocab_size - 1,
                       " (the vocabulary has ", config.vocab_size, " rows)");
    }
  }
  return {};
}

}  // namespace

const PhiFieldNames& FieldNames(TensorNaming naming) {
  static constexpr PhiFieldNames kPhiFields = {
      "vocab_size",          "hidden_size",         "intermediate_size",       "num_hidden_layers",
      "num_attention_heads", "num_key_value_heads", "max_position_embeddings", "partial_rotary_factor",
      "layer_norm_eps",      "rope_theta"};
  static constexpr PhiFieldNames kOldFields = {
      "vocab_size",         "n_embd",    "n_inner", "n_layer", "n_head", "n_head_kv", "n_positions", "rotary_dim",
      "layer_norm_epsilon", "rope_theta"};
  static constexpr PhiFieldNames kGgufFields = {
      "phi2.vocab_size",     "phi2.embedding_length",     "phi2.feed_forward_length",
      "phi2.block_count",    "phi2.attention.head_count", "phi2.attention.head_count_kv",
      "phi2.context_length", "phi2.rope.dimension_count", "phi2.attention.layer_norm_epsilon",
      "phi2.rope.freq_base"};
  switch (naming) {
    case TensorNaming::kPhiMsft:
    case TensorNaming::kMixformerSequential: return kOldFields;
    case TensorNaming::kGguf: return kGgufFields;
    case TensorNaming::kPhi: break;
  }
  return kPhiFields;
}

Result<PhiConfig> ParsePhiConfig(const std::string& json_text, const std::string& path,
                                 const std::string& generation_json, const std::string& generation_path) {
  ASSIGN_OR_RETURN(const Json json, ParseJsonObject(json_text, path));
  const JsonFields fields(json, path);
  ASSIGN_OR_RETURN(const TensorNaming kind, DetectKind(fields));
  PhiConfig config;
  RETURN_IF_ERROR(ReadQuantization(fields, &config));
  config.naming = KindOfFields(fields, kind);
  RETURN_IF_ERROR(config.naming == TensorNaming::kPhi ? ReadPhiFields(fields, &config)
                                                      : ReadOldFields(fields, &config));
  RETURN_IF_ERROR(fields.OptionalBool("tie_word_embeddings", &config.tie_word_embeddings));
  RETURN_IF_ERROR(ReadTorchDtype(fields, &config));
  RETURN_IF_ERROR(ReadSpecialTokens(fields, &config));
  if (!generation_json.empty()) {
    ASSIGN_OR_RETURN(const Json generation, ParseJsonObject(generation_json, generation_path));
    RETURN_IF_ERROR(ReadSpecialTokens(JsonFields(generation, generation_path), &config));
  }
  RETURN_IF_ERROR(ValidatePhiConfig(config, path));
  return config;
}

Status ValidatePhiConfig(const PhiConfig& config, const std::string& path) {
  const PhiFieldNames& names = FieldNames(config.naming);
  RETURN_IF_ERROR(CheckRange(path, names.vocab_size, config.vocab_size, 1, kMaxVocabSize));
  RETURN_IF_ERROR(CheckRange(path, "pad_vocab_size_multiple", config.vocab_multiple, 1, kMaxVocabSize));
  RETURN_IF_ERROR(CheckRange(path, names.hidden_size, config.hidden_size, 1, kMaxHiddenSize));
  RETURN_IF_ERROR(CheckRange(path, names.intermediate_size, config.intermediate_size, 1, kMaxIntermediateSize));
  RETURN_IF_ERROR(CheckRange(path, names.n_layers, config.n_layers, 1, kMaxLayers));
  RETURN_IF_ERROR(CheckRange(path, names.n_heads, config.n_heads, 1, kMaxHeads));
  RETURN_IF_ERROR(CheckRange(path, names.n_kv_heads, config.n_kv_heads, 1, kMaxHeads));
  RETURN_IF_ERROR(CheckRange(path, names.max_position_embeddings, config.max_position_embeddings, 1, kMaxPositions));
  RETURN_IF_ERROR(CheckSizesAgree(config, path, names));
  // Checked as the float32 that the arithmetic uses: 1e-60 would be 0 there.
  if (!std::isfinite(config.layer_norm_eps) || config.layer_norm_eps <= 0.0F || config.layer_norm_eps > 1.0F) {
    return DataError(path, ": ", names.layer_norm_eps, " is ", config.layer_norm_eps,
                     " as float32; expected more than 0 and at most 1");
  }
  if (!(config.rope_theta >= 1.0 && config.rope_theta <= kMaxRopeTheta)) {
    return DataError(path, ": ", names.rope_theta, " is ", config.rope_theta, "; expected 1 to ", kMaxRopeTheta);
  }
  return CheckTokens(config, path);
}

}  // namespace phidias
