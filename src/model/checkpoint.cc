#include "model/checkpoint.h"

#include <cmath>
#include <cstring>
#include <set>
#include <utility>

#include "model/tensor_naming.h"
#include "numerics/half.h"

namespace phidias {
namespace {

// A dimension that the configuration implies, and the fields that imply it.
struct Dim {
  int64_t size;
  std::string field;
};

float LoadFloat(const StoredTensor& tensor, int64_t index) {
  if (tensor.dtype == DType::kF32) {
    uint32_t bits = 0;
    std::memcpy(&bits, tensor.data + index * 4, sizeof bits);
    return numerics::FloatOf(bits);
  }
  uint16_t bits = 0;
  std::memcpy(&bits, tensor.data + index * 2, sizeof bits);
  return tensor.dtype == DType::kF16 ? numerics::HalfToFloat(bits) : numerics::Bfloat16ToFloat(bits);
}

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
  Binder(const PhiConfig& config, const TensorStore& store, const std::string& path)
      : config_(config), store_(store), path_(path), fields_(FieldNames(config.naming)) {}

  Result<PhiWeights> Bind();

 private:
  Status BindLayer(int64_t layer, PhiLayerWeights* out);
  Status BindAttentionInputs(const LayerTensorStems& stems, const LayerTensorStems& names, PhiLayerWeights* out);
  Status BindHead(const std::string& stem, PhiWeights* out);
  Status BindLinear(const std::string& stem, const std::string& name, const Dim& rows, const Dim& cols,
                    LinearWeights* out);
  Status BindLayerNorm(const std::string& stem, const std::string& name, LayerNormWeights* out);

  Result<WeightMatrix> Matrix(const std::string& name, const Dim& rows, const Dim& cols);
  Result<std::vector<float>> Vector(const std::string& name, const Dim& size);
  // The tensor `name` in the expected shape; counts as used from here on.
  Result<const StoredTensor*> Take(const std::string& name, const std::vector<Dim>& dims);

  Status Missing(const std::string& name, const std::vector<Dim>& dims) const;
  Status CheckNothingIsLeft() const;
  std::set<std::string> ExpectedNames() const;
  bool Stored(const std::string& name) const { return store_.tensors.count(name) != 0; }
  std::string Where(const StoredTensor& tensor) const {
    return StrCat(tensor.file.empty() ? path_ : tensor.file, ": tensor ", Quoted(tensor.name));
  }

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
  const TensorStore& store_;
  const std::string& path_;
  const PhiFieldNames& fields_;
  std::set<std::string> used_;
};

std::string ExpectedShape(const std::vector<Dim>& dims) {
  std::vector<int64_t> shape;
  std::string from;
  for (const Dim& dim : dims) {
    shape.push_back(dim.size);
    from += (from.empty() ? "" : ", ") + dim.field;
  }
  return StrCat(ShapeString(shape), " (", from, ")");
}

Result<PhiWeights> Binder::Bind() {
  if (Stored("rope_freqs.weight")) {
    return Unsupported(path_, ": tensor \"rope_freqs.weight\" (scaled rotary embeddings) isn't run here; a model ",
                       "without scaling is");
  }
  const ModelTensorStems stems = ModelStems(config_.naming, config_.n_layers);
  const ModelTensorStems names = ModelStems(TensorNaming::kPhi, config_.n_layers);
  PhiWeights weights;
  ASSIGN_OR_RETURN(weights.embed_tokens, Matrix(stems.embed_tokens + ".weight", Vocab(), Hidden()));
  weights.layers.resize(static_cast<size_t>(config_.n_layers));
  for (int64_t layer = 0; layer < config_.n_layers; ++layer) {
    RETURN_IF_ERROR(BindLayer(layer, &weights.layers[static_cast<size_t>(layer)]));
  }
  RETURN_IF_ERROR(BindLayerNorm(stems.final_layernorm, names.final_layernorm, &weights.final_layernorm));
  RETURN_IF_ERROR(BindHead(stems.lm_head, &weights));
  RETURN_IF_ERROR(CheckNothingIsLeft());
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
  const bool fused = !stems.qkv.empty() && (stems.q_proj.empty() || Stored(stems.qkv + ".weight"));
  if (!fused) {
    RETURN_IF_ERROR(BindLinear(stems.q_proj, names.q_proj, Hidden(), Hidden(), &out->q_proj));
    RETURN_IF_ERROR(BindLinear(stems.k_proj, names.k_proj, KeyValue(), Hidden(), &out->k_proj));
    return BindLinear(stems.v_proj, names.v_proj, KeyValue(), Hidden(), &out->v_proj);
  }
  LinearWeights qkv;
  RETURN_IF_ERROR(BindLinear(stems.qkv, stems.qkv, Fused(), Hidden(), &qkv));
  const int64_t q_rows = config_.hidden_size;
  const int64_t kv_rows = config_.kv_size();
  out->q_proj = {names.q_proj, RowRange(qkv.weight, 0, q_rows), Range(qkv.bias, 0, q_rows)};
  out->k_proj = {names.k_proj, RowRange(qkv.weight, q_rows, kv_rows), Range(qkv.bias, q_rows, kv_rows)};
  out->v_proj = {names.v_proj, RowRange(qkv.weight, q_rows + kv_rows, kv_rows),
                 Range(qkv.bias, q_rows + kv_rows, kv_rows)};
  return {};
}

// Hugging Face's tie_word_embeddings overrules a stored lm_head.weight; in GGUF a stored `output.weight` is the head,
// and its absence is what says that it's tied.
Status Binder::BindHead(const std::string& stem, PhiWeights* out) {
  const std::string weight = stem + ".weight";
  const bool tied = config_.naming == TensorNaming::kGguf ? !Stored(weight) && config_.tie_word_embeddings
                                                          : config_.tie_word_embeddings;
  out->lm_head.name = "lm_head";
  if (!tied || Stored(weight)) {
    ASSIGN_OR_RETURN(out->lm_head.weight, Matrix(weight, Vocab(), Hidden()));
  }
  if (tied) {
    out->lm_head.weight = out->embed_tokens;
  }
  ASSIGN_OR_RETURN(out->lm_head.bias, Vector(stem + ".bias", Vocab()));
  return {};
}

Status Binder::BindLinear(const std::string& stem, const std::string& name, const Dim& rows, const Dim& cols,
                          LinearWeights* out) {
  out->name = name;
  ASSIGN_OR_RETURN(out->weight, Matrix(stem + ".weight", rows, cols));
  ASSIGN_OR_RETURN(out->bias, Vector(stem + ".bias", rows));
  return {};
}

Status Binder::BindLayerNorm(const std::string& stem, const std::string& name, LayerNormWeights* out) {
  out->name = name;
  ASSIGN_OR_RETURN(out->weight, Vector(stem + ".weight", Hidden()));
  ASSIGN_OR_RETURN(out->bias, Vector(stem + ".bias", Hidden()));
  return {};
}

Result<WeightMatrix> Binder::Matrix(const std::string& name, const Dim& rows, const Dim& cols) {
  ASSIGN_OR_RETURN(const StoredTensor* tensor, Take(name, {rows, cols}));
  const bool q8 = tensor->dtype == DType::kQ8_0 && config_.naming == TensorNaming::kGguf;
  if (!q8 && tensor->dtype != DType::kF32 && tensor->dtype != DType::kF16 && tensor->dtype != DType::kBF16) {
    return Unsupported(Where(*tensor), " has dtype ", DTypeName(tensor->dtype), "; weights are F32, F16 or BF16",
                       config_.naming == TensorNaming::kGguf ? ", or Q8_0" : "");
  }
  if (q8 && cols.size % kQ8BlockElements != 0) {
    return DataError(Where(*tensor), " is Q8_0 with rows of ", cols.size, " elements; expected a multiple of ",
                     kQ8BlockElements);
  }
  const int64_t bytes = DTypeBytes(tensor->dtype, rows.size * cols.size);
  if (tensor->data == nullptr || tensor->bytes != static_cast<size_t>(bytes)) {
    return DataError(Where(*tensor), " has ", tensor->bytes, " bytes; expected ", bytes);
  }
  return WeightMatrix{tensor->dtype, tensor->data, rows.size, cols.size};
}

Result<std::vector<float>> Binder::Vector(const std::string& name, const Dim& size) {
  ASSIGN_OR_RETURN(const StoredTensor* tensor, Take(name, {size}));
  if (tensor->dtype != DType::kF32 && tensor->dtype != DType::kF16 && tensor->dtype != DType::kBF16) {
    return Unsupported(Where(*tensor), " has dtype ", DTypeName(tensor->dtype),
                       "; norms and biases are F32, F16 or BF16");
  }
  const int64_t bytes = DTypeBytes(tensor->dtype, size.size);
  if (tensor->data == nullptr || tensor->bytes != static_cast<size_t>(bytes)) {
    return DataError(Where(*tensor), " has ", tensor->bytes, " bytes; expected ", bytes);
  }
  std::vector<float> values(static_cast<size_t>(size.size));
  for (int64_t i = 0; i < size.size; ++i) {
    const float value = LoadFloat(*tensor, i);
    if (!std::isfinite(value)) {
      return DataError(Where(*tensor), " holds ", value, " at index ", i, "; expected finite numbers");
    }
    values[static_cast<size_t>(i)] = value;
  }
  return values;
}

Result<const StoredTensor*> Binder::Take(const std::string& name, const std::vector<Dim>& dims) {
  const auto found = store_.tensors.find(name);
  if (found == store_.tensors.end()) {
    return Missing(name, dims);
  }
  const StoredTensor& tensor = found->second;
  bool same = tensor.shape.size() == dims.size();
  for (size_t i = 0; same && i < dims.size(); ++i) {
    same = tensor.shape[i] == dims[i].size;
  }
  if (!same) {
    return DataError(Where(tensor), " has shape ", ShapeString(tensor.shape), "; expected ", ExpectedShape(dims));
  }
  used_.insert(name);
  return &tensor;
}

Status Binder::Missing(const std::string& name, const std::vector<Dim>& dims) const {
  const std::set<std::string> expected = ExpectedNames();
  const std::string similar = FindSimilarName(
      store_, name, [&](const std::string& other) { return expected.count(other) != 0 || IsIgnoredTensor(other); });
  return NotFound(path_, ": tensor ", Quoted(name), " of shape ", ExpectedShape(dims), " is missing; ",
                  similar.empty() ? "found " + DescribeNames(store_) : "is it " + Quoted(similar) + "?");
}

Status Binder::CheckNothingIsLeft() const {
  constexpr size_t kMaxShown = 3;
  size_t count = 0;
  std::string shown;
  for (const auto& [name, tensor] : store_.tensors) {
    if (used_.count(name) != 0 || IsIgnoredTensor(name)) {
      continue;
    }
    if (++count <= kMaxShown) {
      shown += (shown.empty() ? "" : ", ") + Quoted(name);
    }
  }
  if (count == 0) {
    return {};
  }
  return DataError(path_, ": ", count, count == 1 ? " tensor doesn't" : " tensors don't", " belong to a ",
                   NamingName(config_.naming), " model of ", config_.n_layers,
                   config_.n_layers == 1 ? " layer: " : " layers: ", shown, count > kMaxShown ? ", ..." : "");
}

std::set<std::string> Binder::ExpectedNames() const {
  const ModelTensorStems model = ModelStems(config_.naming, config_.n_layers);
  std::set<std::string> names;
  const auto add = [&names](const std::string& stem) {
    names.insert(stem + ".weight");
    names.insert(stem + ".bias");
  };
  for (const std::string* stem : {&model.embed_tokens, &model.final_layernorm, &model.lm_head}) {
    add(*stem);
  }
  for (int64_t layer = 0; layer < config_.n_layers; ++layer) {
    const LayerTensorStems stems = LayerStems(config_.naming, layer);
    for (const std::string* stem : {&stems.input_layernorm, &stems.q_proj, &stems.k_proj, &stems.v_proj, &stems.qkv,
                                    &stems.dense, &stems.fc1, &stems.fc2}) {
      add(*stem);
    }
  }
  return names;
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

Result<PhiWeights> BindPhiWeights(const PhiConfig& config, const TensorStore& store, const std::string& path) {
  RETURN_IF_ERROR(ValidatePhiConfig(config, path));
  return Binder(config, store, path).Bind();
}

}  // namespace phidias
