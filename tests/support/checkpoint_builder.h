#pragma once

// Random Phi checkpoints of any shape, naming and dtype, for tests. A weight's values depend only on the seed and on
// what it is (its name in the `phi` kind), so checkpoints of different namings hold the same model.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "common/dtype.h"
#include "model/config.h"
#include "model/files/tensor_store.h"
#include "model/quantization_config.h"
#include "model/tensor_naming.h"
#include "numerics/half.h"
#include "numerics/quantize.h"

namespace phidias::testing_support {

// A directory under the system's temporary one that vanishes with this object.
class TempDir {
 public:
  TempDir() {
    std::string name = (std::filesystem::temp_directory_path() / "phidias-test-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) {
      throw std::runtime_error("no temporary directory: " + name);
    }
    path_ = name;
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return StrCat(path_, "/", name); }

 private:
  std::string path_;
};

inline void WriteText(const std::string& path, const std::string& text) {
  std::ofstream out(path, std::ios::binary);
  out.write(text.data(), static_cast<std::streamsize>(text.size()));
  if (!out.flush()) {
    throw std::runtime_error("cannot write " + path);
  }
}

struct BuiltTensor {
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  std::vector<std::byte> bytes;
};
using BuiltTensors = std::map<std::string, BuiltTensor>;

struct CheckpointOptions {
  TensorNaming naming = TensorNaming::kPhi;
  DType dtype = DType::kF32;         // of matrices: F32, F16, BF16 or Q8_0
  DType vector_dtype = DType::kF32;  // of norms and biases: F32, F16 or BF16
  uint64_t seed = 1;
  bool gguf_fused_qkv = true;  // in GGUF's naming, which knows both
};

// A small configuration that satisfies PhiConfig's invariants.
inline PhiConfig SmallConfig() {
  PhiConfig config;
  config.vocab_size = 96;
  config.hidden_size = 64;
  config.intermediate_size = 128;
  config.n_layers = 2;
  config.n_heads = 4;
  config.n_kv_heads = 4;
  config.head_dim = 16;
  config.rotary_dim = 8;
  config.max_position_embeddings = 64;
  config.bos_token_id = 0;
  config.eos_token_ids = {0};
  return config;
}

// Grouped heads, and sizes that are no multiple of 16.
inline PhiConfig GroupedConfig() {
  PhiConfig config = SmallConfig();
  config.n_heads = 6;
  config.n_kv_heads = 2;
  config.head_dim = 7;
  config.rotary_dim = 4;
  config.hidden_size = 42;
  config.intermediate_size = 75;
  return config;
}

// Uniform numbers in [-1, 1), a sequence of its own per name.
inline std::vector<float> RandomValues(uint64_t seed, const std::string& name, int64_t count) {
  uint64_t state = seed * 0x9e3779b97f4a7c15U + 1;
  for (const char c : name) {
    state = (state ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
  }
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) {  // splitmix64
    uint64_t z = (state += 0x9e3779b97f4a7c15U);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    value = static_cast<float>(static_cast<int64_t>((z ^ (z >> 31)) >> 40)) * 0x1p-23F - 1.0F;
  }
  return values;
}

inline void AppendQ8Block(const float* values, std::vector<std::byte>* out) {
  float absmax = 0.0F;
  for (int i = 0; i < kQ8BlockElements; ++i) {
    absmax = std::max(absmax, std::fabs(values[i]));
  }
  const uint16_t scale_bits = numerics::FloatToHalf(absmax / 127.0F);
  const float scale = numerics::HalfToFloat(scale_bits);
  std::byte block[kQ8BlockBytes] = {};
  std::memcpy(block, &scale_bits, sizeof scale_bits);
  for (int i = 0; i < kQ8BlockElements; ++i) {
    const float scaled = scale > 0.0F ? std::nearbyint(values[i] / scale) : 0.0F;
    const auto quantized = static_cast<int8_t>(std::clamp(scaled, -127.0F, 127.0F));
    std::memcpy(block + 2 + i, &quantized, 1);
  }
  out->insert(out->end(), block, block + kQ8BlockBytes);
}

inline std::vector<std::byte> EncodeValues(const std::vector<float>& values, DType dtype) {
  std::vector<std::byte> out;
  const auto append = [&out](auto bits) {
    const auto* bytes = reinterpret_cast<const std::byte*>(&bits);
    out.insert(out.end(), bytes, bytes + sizeof bits);
  };
  for (size_t i = 0; i < values.size(); ++i) {
    switch (dtype) {
      case DType::kF32: append(values[i]); break;
      case DType::kF16: append(numerics::FloatToHalf(values[i])); break;
      case DType::kBF16: append(numerics::FloatToBfloat16(values[i])); break;
      case DType::kQ8_0:
        if (i % kQ8BlockElements == 0) {
          AppendQ8Block(values.data() + i, &out);
        }
        break;
      default: throw std::runtime_error("the checkpoint builder doesn't write this dtype");
    }
  }
  return out;
}

// Element `index` of stored data, as float32.
inline float DecodeValue(DType dtype, const std::byte* data, int64_t index) {
  uint16_t half = 0;
  switch (dtype) {
    case DType::kF32: {
      float value = 0;
      std::memcpy(&value, data + index * 4, sizeof value);
      return value;
    }
    case DType::kF16: std::memcpy(&half, data + index * 2, sizeof half); return numerics::HalfToFloat(half);
    case DType::kBF16: std::memcpy(&half, data + index * 2, sizeof half); return numerics::Bfloat16ToFloat(half);
    case DType::kQ8_0: {
      const std::byte* block = data + index / kQ8BlockElements * kQ8BlockBytes;
      std::memcpy(&half, block, sizeof half);
      int8_t quantized = 0;
      std::memcpy(&quantized, block + 2 + index % kQ8BlockElements, 1);
      return numerics::HalfToFloat(half) * static_cast<float>(quantized);
    }
    default: throw std::runtime_error("the checkpoint builder doesn't read this dtype");
  }
}

class CheckpointBuilder {
 public:
  CheckpointBuilder(const PhiConfig& config, const CheckpointOptions& options) : config_(config), options_(options) {}

  BuiltTensors Build() {
    const ModelTensorStems stems = ModelStems(options_.naming, config_.n_layers);
    AddMatrix(stems.embed_tokens + ".weight", {{"model.embed_tokens", config_.vocab_size}}, config_.hidden_size);
    for (int64_t layer = 0; layer < config_.n_layers; ++layer) {
      AddLayer(LayerStems(options_.naming, layer), LayerStems(TensorNaming::kPhi, layer));
    }
    AddLayerNorm(stems.final_layernorm, "model.final_layernorm");
    if (config_.tie_word_embeddings) {
      AddVector(stems.lm_head + ".bias", {{"lm_head", config_.vocab_size}}, ".bias", 0.0F, 0.1F);
    } else {
      AddLinear(stems.lm_head, {{"lm_head", config_.vocab_size}}, config_.hidden_size);
    }
    return std::move(tensors_);
  }

 private:
  // Tensors that lie one after the other in a stored one: the `phi` kind's name and the rows of each.
  struct Part {
    std::string name;
    int64_t rows;
  };
  using Parts = std::vector<Part>;

  void AddLayer(const LayerTensorStems& stems, const LayerTensorStems& names) {
    const int64_t hidden = config_.hidden_size;
    const Part q = {names.q_proj, hidden};
    const Part k = {names.k_proj, config_.kv_size()};
    const Part v = {names.v_proj, config_.kv_size()};
    AddLayerNorm(stems.input_layernorm, names.input_layernorm);
    if (stems.q_proj.empty() || (!stems.qkv.empty() && options_.gguf_fused_qkv)) {
      AddLinear(stems.qkv, {q, k, v}, hidden);
    } else {
      AddLinear(stems.q_proj, {q}, hidden);
      AddLinear(stems.k_proj, {k}, hidden);
      AddLinear(stems.v_proj, {v}, hidden);
    }
    AddLinear(stems.dense, {{names.dense, hidden}}, hidden);
    AddLinear(stems.fc1, {{names.fc1, config_.intermediate_size}}, hidden);
    AddLinear(stems.fc2, {{names.fc2, hidden}}, config_.intermediate_size);
  }

  void AddLinear(const std::string& stem, const Parts& parts, int64_t cols) {
    AddMatrix(stem + ".weight", parts, cols);
    AddVector(stem + ".bias", parts, ".bias", 0.0F, 0.1F);
  }

  void AddLayerNorm(const std::string& stem, const std::string& name) {
    AddVector(stem + ".weight", {{name, config_.hidden_size}}, ".weight", 1.0F, 0.2F);
    AddVector(stem + ".bias", {{name, config_.hidden_size}}, ".bias", 0.0F, 0.1F);
  }

  // Scaled so that activations keep their size from layer to layer.
  void AddMatrix(const std::string& stored, const Parts& parts, int64_t cols) {
    const float scale = std::sqrt(3.0F / static_cast<float>(cols));
    int64_t rows = 0;
    std::vector<float> values;
    for (const Part& part : parts) {
      Append(part.name + ".weight", part.rows * cols, 0.0F, scale, &values);
      rows += part.rows;
    }
    tensors_[stored] = {options_.dtype, {rows, cols}, EncodeValues(values, options_.dtype)};
  }

  void AddVector(const std::string& stored, const Parts& parts, const char* suffix, float mean, float scale) {
    std::vector<float> values;
    for (const Part& part : parts) {
      Append(part.name + suffix, part.rows, mean, scale, &values);
    }
    const auto size = static_cast<int64_t>(values.size());
    tensors_[stored] = {options_.vector_dtype, {size}, EncodeValues(values, options_.vector_dtype)};
  }

  void Append(const std::string& name, int64_t count, float mean, float scale, std::vector<float>* out) const {
    for (const float value : RandomValues(options_.seed, name, count)) {
      out->push_back(mean + scale * value);
    }
  }

  const PhiConfig& config_;
  const CheckpointOptions& options_;
  BuiltTensors tensors_;
};

inline BuiltTensors BuildTensors(const PhiConfig& config, const CheckpointOptions& options = {}) {
  return CheckpointBuilder(config, options).Build();
}

// The tensors as a reader would return them, in memory of the store's own.
inline TensorStore MakeStore(const BuiltTensors& tensors, const std::string& file = "built.safetensors") {
  TensorStore store;
  for (const auto& [name, built] : tensors) {
    store.owned.push_back(std::make_shared<std::vector<std::byte>>(built.bytes));
    StoredTensor tensor = {name, file, built.dtype, built.shape, store.owned.back()->data(), built.bytes.size()};
    if (const Status status = store.Add(std::move(tensor)); !status.ok()) {
      throw std::runtime_error(status.message());
    }
  }
  return store;
}

struct InputRange {
  float min = -4.0F;
  float max = 5.0F;
};

// Scale and zero point of `count` stored values, by compressed-tensors' rule.
inline numerics::ScaleZero ScaleOf(const BuiltTensor& tensor, int64_t first, int64_t count, bool symmetric) {
  float min = 0.0F;
  float max = 0.0F;
  for (int64_t i = first; i < first + count; ++i) {
    const float value = DecodeValue(tensor.dtype, tensor.bytes.data(), i);
    min = std::min(min, value);
    max = std::max(max, value);
  }
  return symmetric ? numerics::SymmetricScale(std::max(-min, max)) : numerics::AsymmetricScale(min, max);
}

inline std::vector<std::byte> Int8Bytes(const std::vector<int32_t>& values) {
  std::vector<std::byte> out;
  for (const int32_t value : values) {
    out.push_back(static_cast<std::byte>(value));
  }
  return out;
}

// Replaces `stem`.weight, a float matrix, by an int8 one with its scales, rounded by division as PyTorch has it.
inline void QuantizeWeight(const std::string& stem, const WeightScheme& scheme, BuiltTensors* tensors) {
  const BuiltTensor weight = tensors->at(stem + ".weight");
  const int64_t rows = weight.shape[0];
  const int64_t cols = weight.shape[1];
  std::vector<int32_t> quantized;
  std::vector<float> scales;
  std::vector<int32_t> zero_points;
  for (int64_t i = 0; i < rows * cols; ++i) {
    if (i == 0 || (scheme.per_channel && i % cols == 0)) {
      const numerics::ScaleZero found = ScaleOf(weight, i, scheme.per_channel ? cols : rows * cols, scheme.symmetric);
      scales.push_back(found.scale);
      zero_points.push_back(found.zero_point);
    }
    const float scaled = DecodeValue(weight.dtype, weight.bytes.data(), i) / scales.back();
    const float shifted = scaled + static_cast<float>(zero_points.back());
    quantized.push_back(numerics::RoundHalfEven(std::clamp(shifted, -128.0F, 127.0F)));
  }
  const std::vector<int64_t> shape = scheme.per_channel ? std::vector<int64_t>{rows, 1} : std::vector<int64_t>{1};
  (*tensors)[stem + ".weight"] = {DType::kI8, weight.shape, Int8Bytes(quantized)};
  (*tensors)[stem + ".weight_scale"] = {DType::kF32, shape, EncodeValues(scales, DType::kF32)};
  if (!scheme.symmetric) {
    (*tensors)[stem + ".weight_zero_point"] = {DType::kI8, shape, Int8Bytes(zero_points)};
  }
}

// Makes a float linear layer one that `scheme` quantises. `range` is that of its input, for a static scheme.
inline void QuantizeLinear(const std::string& stem, const QuantizationScheme& scheme, const InputRange& range,
                           BuiltTensors* tensors) {
  if (scheme.weights) {
    QuantizeWeight(stem, *scheme.weights, tensors);
  }
  if (scheme.input != InputQuant::Kind::kStatic) {
    return;
  }
  const numerics::ScaleZero input = scheme.input_symmetric ? numerics::SymmetricScale(std::max(-range.min, range.max))
                                                           : numerics::AsymmetricScale(range.min, range.max);
  (*tensors)[stem + ".input_scale"] = {DType::kF32, {1}, EncodeValues({input.scale}, DType::kF32)};
  if (!scheme.input_symmetric) {
    (*tensors)[stem + ".input_zero_point"] = {DType::kI8, {1}, Int8Bytes({input.zero_point})};
  }
}

// Names of all linear layers of the `phi` kind but lm_head.
inline std::vector<std::string> LayerLinearNames(int64_t n_layers) {
  std::vector<std::string> names;
  for (int64_t layer = 0; layer < n_layers; ++layer) {
    const LayerTensorStems stems = LayerStems(TensorNaming::kPhi, layer);
    names.insert(names.end(), {stems.q_proj, stems.k_proj, stems.v_proj, stems.dense, stems.fc1, stems.fc2});
  }
  return names;
}

inline void WriteSafetensorsFile(const std::string& path, const BuiltTensors& tensors) {
  nlohmann::json header = {{"__metadata__", {{"format", "pt"}}}};
  std::string data;
  for (const auto& [name, tensor] : tensors) {
    const size_t begin = data.size();
    data.append(reinterpret_cast<const char*>(tensor.bytes.data()), tensor.bytes.size());
    header[name] = {
        {"dtype", DTypeName(tensor.dtype)}, {"shape", tensor.shape}, {"data_offsets", {begin, data.size()}}};
  }
  const std::string text = header.dump();
  std::string out(8, '\0');
  for (size_t i = 0; i < 8; ++i) {
    out[i] = static_cast<char>(static_cast<uint64_t>(text.size()) >> (8 * i));
  }
  WriteText(path, out + text + data);
}

// `shards` files and their index, the tensors dealt out one by one.
inline void WriteShardedSafetensors(const std::string& dir, const BuiltTensors& tensors, size_t shards) {
  std::vector<BuiltTensors> parts(shards);
  nlohmann::json weight_map = nlohmann::json::object();
  size_t next = 0;
  const auto name_of = [shards](size_t shard) {
    char name[64];
    std::snprintf(name, sizeof name, "model-%05zu-of-%05zu.safetensors", shard + 1, shards);
    return std::string(name);
  };
  for (const auto& [name, tensor] : tensors) {
    parts[next % shards][name] = tensor;
    weight_map[name] = name_of(next % shards);
    ++next;
  }
  for (size_t shard = 0; shard < shards; ++shard) {
    WriteSafetensorsFile(dir + "/" + name_of(shard), parts[shard]);
  }
  WriteText(dir + "/model.safetensors.index.json",
            nlohmann::json({{"metadata", nlohmann::json::object()}, {"weight_map", weight_map}}).dump(1));
}

// config.json of the naming's own kind.
inline nlohmann::json ConfigJson(const PhiConfig& config, TensorNaming naming) {
  nlohmann::json json = {{"vocab_size", config.vocab_size},
                         {"tie_word_embeddings", config.tie_word_embeddings},
                         {"eos_token_id", config.eos_token_ids}};
  if (config.bos_token_id) {
    json["bos_token_id"] = *config.bos_token_id;
  }
  if (naming == TensorNaming::kPhi) {
    json.update(
        {{"model_type", "phi"},
         {"architectures", {"PhiForCausalLM"}},
         {"hidden_size", config.hidden_size},
         {"intermediate_size", config.intermediate_size},
         {"num_hidden_layers", config.n_layers},
         {"num_attention_heads", config.n_heads},
         {"num_key_value_heads", config.n_kv_heads},
         {"hidden_act", "gelu_new"},
         {"layer_norm_eps", 1e-5},
         {"max_position_embeddings", config.max_position_embeddings},
         {"rope_theta", config.rope_theta},
         {"partial_rotary_factor", static_cast<double>(config.rotary_dim) / static_cast<double>(config.head_dim)}});
    return json;
  }
  const bool mixformer = naming == TensorNaming::kMixformerSequential;
  json.update({{"model_type", mixformer ? "mixformer-sequential" : "phi-msft"},
               {"architectures", {mixformer ? "MixFormerSequentialForCausalLM" : "PhiForCausalLM"}},
               {"n_embd", config.hidden_size},
               {"n_inner", config.intermediate_size},
               {"n_layer", config.n_layers},
               {"n_head", config.n_heads},
               {"n_head_kv", config.n_kv_heads},
               {"n_positions", config.max_position_embeddings},
               {"rotary_dim", config.rotary_dim},
               {"activation_function", "gelu_new"},
               {"layer_norm_epsilon", 1e-5}});
  return json;
}

// config.json and model.safetensors (or shards of it) in `dir`, which must exist.
inline void WriteCheckpoint(const std::string& dir, const PhiConfig& config, const CheckpointOptions& options = {},
                            size_t shards = 1) {
  WriteText(dir + "/config.json", ConfigJson(config, options.naming).dump(2));
  const BuiltTensors tensors = BuildTensors(config, options);
  if (shards > 1) {
    WriteShardedSafetensors(dir, tensors, shards);
  } else {
    WriteSafetensorsFile(dir + "/model.safetensors", tensors);
  }
}

}  // namespace phidias::testing_support
