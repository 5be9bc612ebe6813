#include <limits>
#include <optional>

#include "model/files/gguf.h"

namespace phidias {
namespace {

const char* TypeName(const GgufValue& value) {
  static constexpr const char* kNames[] = {
      "an integer",         "a float", "a boolean", "a string", "an array of integers", "an array of floats",
      "an array of strings"};
  return kNames[value.index()];
}

// Typed access to the metadata; messages name file and key.
class Keys {
 public:
  explicit Keys(const GgufFile& file) : file_(file) {}

  // The value under `key`, nothing if absent, a data error if it has another type; `wanted` is the type in words.
  template <class T>
  Result<std::optional<T>> Find(const std::string& key, const char* wanted) const {
    const auto found = file_.metadata.find(key);
    if (found == file_.metadata.end()) {
      return std::optional<T>();
    }
    if (const T* value = std::get_if<T>(&found->second)) {
      return std::optional<T>(*value);
    }
    return DataError(file_.path, ": metadata key \"", key, "\" must be ", wanted, ", found ", TypeName(found->second));
  }
  Result<std::optional<int64_t>> FindInteger(const std::string& key) const { return Find<int64_t>(key, "an integer"); }
  Result<std::optional<double>> FindFloat(const std::string& key) const { return Find<double>(key, "a float"); }
  Result<std::optional<std::string>> FindString(const std::string& key) const {
    return Find<std::string>(key, "a string");
  }

  Status Integer(const std::string& key, int64_t* out) const { return Require(key, FindInteger(key), out); }
  Status Float(const std::string& key, double* out) const { return Require(key, FindFloat(key), out); }
  Status String(const std::string& key, std::string* out) const { return Require(key, FindString(key), out); }

 private:
  template <class T>
  Status Require(const std::string& key, const Result<std::optional<T>>& value, T* out) const {
    RETURN_IF_ERROR(value.status());
    if (!value->has_value()) {
      return DataError(file_.path, ": metadata key \"", key, "\" is missing");
    }
    *out = **value;
    return {};
  }

  const GgufFile& file_;
};

Status CheckArchitecture(const Keys& keys, const std::string& path) {
  std::string architecture;
  RETURN_IF_ERROR(keys.String("general.architecture", &architecture));
  if (architecture != "phi2") {
    return Unsupported(path, ": general.architecture is ", Quoted(architecture), "; only \"phi2\" runs here");
  }
  return {};
}

Status ReadSizes(const Keys& keys, const std::string& path, PhiConfig* config) {
  RETURN_IF_ERROR(keys.Integer("phi2.context_length", &config->max_position_embeddings));
  RETURN_IF_ERROR(keys.Integer("phi2.embedding_length", &config->hidden_size));
  RETURN_IF_ERROR(keys.Integer("phi2.feed_forward_length", &config->intermediate_size));
  RETURN_IF_ERROR(keys.Integer("phi2.block_count", &config->n_layers));
  RETURN_IF_ERROR(keys.Integer("phi2.attention.head_count", &config->n_heads));
  ASSIGN_OR_RETURN(const auto kv_heads, keys.FindInteger("phi2.attention.head_count_kv"));
  config->n_kv_heads = kv_heads.value_or(config->n_heads);
  RETURN_IF_ERROR(keys.Integer("phi2.rope.dimension_count", &config->rotary_dim));
  if (config->n_heads <= 0 || config->hidden_size <= 0 || config->hidden_size % config->n_heads != 0) {
    return DataError(path, ": phi2.embedding_length is ", config->hidden_size, " and phi2.attention.head_count ",
                     config->n_heads, "; the first must be a positive multiple of the second");
  }
  config->head_dim = config->hidden_size / config->n_heads;
  for (const char* key : {"phi2.attention.key_length", "phi2.attention.value_length"}) {
    ASSIGN_OR_RETURN(const auto length, keys.FindInteger(key));
    if (length && *length != config->head_dim) {
      return Unsupported(path, ": ", key, " is ", *length, "; only embedding_length / head_count = ", config->head_dim,
                         " is supported");
    }
  }
  return {};
}

Status ReadFloats(const Keys& keys, const std::string& path, PhiConfig* config) {
  double epsilon = 0;
  RETURN_IF_ERROR(keys.Float("phi2.attention.layer_norm_epsilon", &epsilon));
  if (!(epsilon > 0 && epsilon < 1)) {  // also keeps the conversion below defined
    return DataError(path, ": phi2.attention.layer_norm_epsilon is ", epsilon, ", a number between 0 and 1 expected");
  }
  config->layer_norm_eps = static_cast<float>(epsilon);
  ASSIGN_OR_RETURN(const auto theta, keys.FindFloat("phi2.rope.freq_base"));
  config->rope_theta = theta.value_or(config->rope_theta);
  return {};
}

// Positions are rotated unscaled here, so a file that wants another scaling must not load as if it didn't. A scale
// factor of 0 stands for "none" in llama.cpp's files.
Status RefuseRopeScaling(const Keys& keys, const std::string& path) {
  ASSIGN_OR_RETURN(const auto type, keys.FindString("phi2.rope.scaling.type"));
  if (type && *type != "none") {
    return Unsupported(path, ": phi2.rope.scaling.type is ", Quoted(*type), "; only \"none\" is supported");
  }
  if (type) {
    return {};
  }
  for (const char* key : {"phi2.rope.scaling.factor", "phi2.rope.scale_linear"}) {
    ASSIGN_OR_RETURN(const auto factor, keys.FindFloat(key));
    if (factor && *factor != 0.0 && *factor != 1.0) {
      return Unsupported(path, ": ", key, " is ", *factor, "; rope scaling isn't supported");
    }
  }
  return {};
}

Result<std::optional<int32_t>> FindTokenId(const Keys& keys, const std::string& path, const char* key) {
  ASSIGN_OR_RETURN(const auto id, keys.FindInteger(key));
  if (!id) {
    return std::optional<int32_t>();
  }
  if (*id < 0 || *id > std::numeric_limits<int32_t>::max()) {
    return DataError(path, ": metadata key \"", key, "\" is ", *id, ", which is no token id");
  }
  return std::optional<int32_t>(static_cast<int32_t>(*id));
}

Status ReadTokenIds(const Keys& keys, const std::string& path, PhiConfig* config) {
  ASSIGN_OR_RETURN(config->bos_token_id, FindTokenId(keys, path, "tokenizer.ggml.bos_token_id"));
  ASSIGN_OR_RETURN(const auto eos, FindTokenId(keys, path, "tokenizer.ggml.eos_token_id"));
  ASSIGN_OR_RETURN(const auto eot, FindTokenId(keys, path, "tokenizer.ggml.eot_token_id"));
  if (eos) {
    config->eos_token_ids.push_back(*eos);
  }
  if (eot && eot != eos) {
    config->eos_token_ids.push_back(*eot);
  }
  return {};
}

Status ReadVocabSize(const GgufFile& file, PhiConfig* config) {
  const auto found = file.store.tensors.find("token_embd.weight");
  if (found == file.store.tensors.end()) {
    return DataError(file.path, ": tensor \"token_embd.weight\" is missing");
  }
  const std::vector<int64_t>& shape = found->second.shape;
  if (shape.size() != 2 || shape[1] != config->hidden_size) {
    return DataError(file.path, ": tensor \"token_embd.weight\" has shape ", ShapeString(shape), ", [vocabulary, ",
                     config->hidden_size, "] expected");
  }
  config->vocab_size = shape[0];
  config->torch_dtype = DTypeName(found->second.dtype);
  return {};
}

}  // namespace

Result<PhiConfig> GgufPhiConfig(const GgufFile& file) {
  const Keys keys(file);
  PhiConfig config;
  config.naming = TensorNaming::kGguf;
  RETURN_IF_ERROR(CheckArchitecture(keys, file.path));
  RETURN_IF_ERROR(ReadSizes(keys, file.path, &config));
  RETURN_IF_ERROR(ReadFloats(keys, file.path, &config));
  RETURN_IF_ERROR(RefuseRopeScaling(keys, file.path));
  RETURN_IF_ERROR(ReadTokenIds(keys, file.path, &config));
  RETURN_IF_ERROR(ReadVocabSize(file, &config));
  RETURN_IF_ERROR(ValidatePhiConfig(config, file.path));
  return config;
}

}  // namespace phidias
