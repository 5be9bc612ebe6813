#include "model/checkpoint.h"

#include <optional>
#include <utility>

#include "model/quantized_binding.h"
#include "model/tensor_naming.h"
#include "model/tensor_picker.h"

namespace phidias {
namespace {

WeightMatrix RowRange(const WeightMatrix& matrix, int64_t first, int64_t rows) {
  WeightMatrix out = matrix;
  out.data = matrix.Row(first);
  out.rows = rows;
  return out;
}

std::vector<float> Range(const std::vector<float>& values, int64_t first, int64_t count) {
  return {values.begin() + first, values.begin() + first + count};
}

class Binder {
 public:
  Binder(const PhiConfig& config, const TensorStore& store, const std::string& path, Int4Binder* int4)
      : config_(config), path_(path), fields_(FieldNames(config.naming)), tensors_(config, store, path), int4_(*int4) {
    if (config.quantization) {
      matcher_.emplace(*config.quantization);
    }
  }

  Result<PhiWeights> Bind(std::vector<std::string>* warnings);

 private:
  Status CheckSupported() const;
  Status BindLayer(int64_t layer, PhiLayerWeights* out);
  Status BindAttentionInputs(const LayerTensorStems& stems, const LayerTensorStems& names, PhiLayerWeights* out);
  Status BindHead(const std::string& stem, PhiWeights* out);
  Status BindLinear(const std::string& stem, const std::string& name, const Dim& rows, const Dim& cols,
                    LinearWeights* out);
  Status BindLayerNorm(const std::string& stem, const std::string& name, LayerNormWeights* out);
  // The group that quantises the layer, or nullptr.
  Result<const QuantizationGroup*> GroupOf(const std::string& name);

  Dim Vocab() const { return {config_.vocab_size, StrCat(fields_.vocab_size, " ", config_.vocab_size)}; }
  Dim Hidden() const { return {config_.hidden_size, StrCat(fields_.hidden_size, " ", config_.hidden_size)}; }
  Dim Intermediate() const {
    return {config_.intermediate_size, StrCat(fields_.intermediate_size, " ", config_.intermediate_size)};
  }
  Dim KeyValue() const {
    return {config_.kv_size(),
            StrCat(fields_.n_kv_heads, " ", config_.n_kv_heads, " x head dimension ", config_.head_dim)};
  }
  Dim Fused() const {
    return {config_.hidden_size + 2 * config_.kv_size(),
            StrCat("(", fields_.n_heads, " ", config_.n_heads, " + 2 x ", fields_.n_kv_heads, " ", config_.n_kv_heads,
                   ") x head dimension ", config_.head_dim)};
  }

  const PhiConfig& config_;
  const std::string& path_;
  const PhiFieldNames& fields_;
  TensorPicker tensors_;
  Int4Binder& int4_;
  std::optional<QuantizationMatcher> matcher_;
};

Status Binder::CheckSupported() const {
  if (tensors_.Stored("rope_freqs.weight")) {
    return Unsupported(path_, ": tensor \"rope_freqs.weight\" (scaled rotary embeddings) isn't run here; a model ",
                       "without scaling is");
  }
  if (config_.quantization && config_.naming != TensorNaming::kPhi) {
    return Unsupported(path_, ": a quantization_config for tensors named as in ", NamingName(config_.naming),
                       " isn't run here; one for the phi kind (\"model.layers.0...\") is");
  }
  return {};
}

Result<PhiWeights> Binder::Bind(std::vector<std::string>* warnings) {
  RETURN_IF_ERROR(CheckSupported());
  const ModelTensorStems stems = ModelStems(config_.naming, config_.n_layers);
  const ModelTensorStems names = ModelStems(TensorNaming::kPhi, config_.n_layers);
  PhiWeights weights;
  ASSIGN_OR_RETURN(weights.embed_tokens, tensors_.Matrix(stems.embed_tokens + ".weight", Vocab(), Hidden()));
  weights.layers.resize(static_cast<size_t>(config_.n_layers));
  for (int64_t layer = 0; layer < config_.n_layers; ++layer) {
    RETURN_IF_ERROR(BindLayer(layer, &weights.layers[static_cast<size_t>(layer)]));
  }
  RETURN_IF_ERROR(BindLayerNorm(stems.final_layernorm, names.final_layernorm, &weights.final_layernorm));
  RETURN_IF_ERROR(BindHead(stems.lm_head, &weights));
  RETURN_IF_ERROR(tensors_.CheckNothingIsLeft());
  RETURN_IF_ERROR(int4_.CheckNothingIsLeft());
  if (matcher_ && warnings != nullptr) {
    *warnings = matcher_->Warnings();
    if (std::string fitted = int4_.Warning(path_); !fitted.empty()) {
      warnings->push_back(std::move(fitted));
    }
  }
  return weights;
}

Status Binder::BindLayer(int64_t layer, PhiLayerWeights* out) {
  const LayerTensorStems stems = LayerStems(config_.naming, layer);
  const LayerTensorStems names = LayerStems(TensorNaming::kPhi, layer);
  RETURN_IF_ERROR(BindLayerNorm(stems.input_layernorm, names.input_layernorm, &out->input_layernorm));
  RETURN_IF_ERROR(BindAttentionInputs(stems, names, out));
  RETURN_IF_ERROR(BindLinear(stems.dense, names.dense, Hidden(), Hidden(), &out->dense));
  RETURN_IF_ERROR(BindLinear(stems.fc1, names.fc1, Intermediate(), Hidden(), &out->fc1));
  return BindLinear(stems.fc2, names.fc2, Hidden(), Intermediate(), &out->fc2);
}

Status Binder::BindAttentionInputs(const LayerTensorStems& stems, const LayerTensorStems& names, PhiLayerWeights* out) {
  const bool fused = !stems.qkv.empty() && (stems.q_proj.empty() || tensors_.Stored(stems.qkv + ".weight"));
  if (!fused) {
    RETURN_IF_ERROR(BindLinear(stems.q_proj, names.q_proj, Hidden(), Hidden(), &out->q_proj));
    RETURN_IF_ERROR(BindLinear(stems.k_proj, names.k_proj, KeyValue(), Hidden(), &out->k_proj));
    return BindLinear(stems.v_proj, names.v_proj, KeyValue(), Hidden(), &out->v_proj);
  }
  LinearWeights qkv;
  RETURN_IF_ERROR(BindLinear(stems.qkv, stems.qkv, Fused(), Hidden(), &qkv));
  const int64_t q_rows = config_.hidden_size;
  const int64_t kv_rows = config_.kv_size();
  const auto rows_of = [&qkv](const std::string& name, int64_t first, int64_t rows) {
    LinearWeights part;
    part.name = name;
    part.weight = RowRange(qkv.weight, first, rows);
    part.bias = Range(qkv.bias, first, rows);
    return part;
  };
  out->q_proj = rows_of(names.q_proj, 0, q_rows);
  out->k_proj = rows_of(names.k_proj, q_rows, kv_rows);
  out->v_proj = rows_of(names.v_proj, q_rows + kv_rows, kv_rows);
  return {};
}

// Hugging Face's tie_word_embeddings overrules a stored lm_head.weight; in GGUF a stored `output.weight` is the head,
// and its absence is what says that it's tied.
Status Binder::BindHead(const std::string& stem, PhiWeights* out) {
  constexpr const char* kName = "lm_head";
  const std::string weight = stem + ".weight";
  const bool tied = config_.naming == TensorNaming::kGguf ? !tensors_.Stored(weight) && config_.tie_word_embeddings
                                                          : config_.tie_word_embeddings;
  if (!tied) {
    return BindLinear(stem, kName, Vocab(), Hidden(), &out->lm_head);
  }
  ASSIGN_OR_RETURN(const QuantizationGroup* group, GroupOf(kName));
  if (group != nullptr) {
    return Unsupported(path_, ": ", group->field, " quantises lm_head, which tie_word_embeddings ties to the ",
                       "embedding; that isn't run here: add \"lm_head\" to quantization_config.ignore");
  }
  out->lm_head.name = kName;
  if (tensors_.Stored(weight)) {
    RETURN_IF_ERROR(tensors_.Matrix(weight, Vocab(), Hidden()).status());
  }
  out->lm_head.weight = out->embed_tokens;
  ASSIGN_OR_RETURN(out->lm_head.bias, tensors_.Vector(stem + ".bias", Vocab()));
  return {};
}

Status Binder::BindLinear(const std::string& stem, const std::string& name, const Dim& rows, const Dim& cols,
                          LinearWeights* out) {
  out->name = name;
  ASSIGN_OR_RETURN(const QuantizationGroup* group, GroupOf(name));
  if (group != nullptr) {
    RETURN_IF_ERROR(BindQuantizedLinear(*group, stem, rows, cols, &tensors_, &int4_, out));
  } else {
    ASSIGN_OR_RETURN(out->weight, tensors_.Matrix(stem + ".weight", rows, cols));
  }
  ASSIGN_OR_RETURN(out->bias, tensors_.Vector(stem + ".bias", rows));
  return {};
}

Status Binder::BindLayerNorm(const std::string& stem, const std::string& name, LayerNormWeights* out) {
  out->name = name;
  ASSIGN_OR_RETURN(out->weight, tensors_.Vector(stem + ".weight", Hidden()));
  ASSIGN_OR_RETURN(out->bias, tensors_.Vector(stem + ".bias", Hidden()));
  return {};
}

Result<const QuantizationGroup*> Binder::GroupOf(const std::string& name) {
  if (!matcher_) {
    return static_cast<const QuantizationGroup*>(nullptr);
  }
  return matcher_->Find(name);
}

}  // namespace

Status AdaptConfigToTensors(const TensorStore& store, const std::string& path, PhiConfig* config) {
  const std::optional<TensorNaming> naming = DetectTensorNaming(store);
  if (!naming) {
    return DataError(path, ": no tensor is named as in a Phi model; expected \"model.layers.0...\" (phi), ",
                     "\"transformer.h.0...\" (phi-msft), \"layers.1.mixer...\" (mixformer-sequential) or "
                     "\"blk.0...\" (GGUF), found ",
                     DescribeNames(store));
  }
  config->naming = *naming;
  const auto embedding = store.tensors.find(ModelStems(*naming, config->n_layers).embed_tokens + ".weight");
  if (config->vocab_multiple > 1 && embedding != store.tensors.end() && !embedding->second.shape.empty()) {
    const int64_t multiple = config->vocab_multiple;
    const int64_t padded = (config->vocab_size + multiple - 1) / multiple * multiple;
    config->vocab_size = embedding->second.shape[0] == padded ? padded : config->vocab_size;
  }
  config->vocab_multiple = 1;
  return ValidatePhiConfig(*config, path);
}

Result<PhiWeights> BindPhiWeights(const PhiConfig& config, const TensorStore& store, const std::string& path,
                                  std::vector<std::string>* warnings, Int4Binder* int4) {
  RETURN_IF_ERROR(ValidatePhiConfig(config, path));
  Int4Binder alone(nullptr, nullptr);
  return Binder(config, store, path, int4 == nullptr ? &alone : int4).Bind(warnings);
}

}  // namespace phidias
