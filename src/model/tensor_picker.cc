#include "model/tensor_picker.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "model/tensor_naming.h"
#include "numerics/half.h"

namespace phidias {
namespace {

bool IsFloat(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16;
}

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

bool HasShape(const StoredTensor& tensor, const Dims& dims) {
  return std::equal(tensor.shape.begin(), tensor.shape.end(), dims.begin(), dims.end(),
                    [](int64_t size, const Dim& dim) { return size == dim.size; });
}

// "[51200, 2560] (vocab_size 51200, hidden_size 2560)"
std::string ExpectedShape(const Dims& dims) {
  std::vector<int64_t> shape;
  std::string from;
  for (const Dim& dim : dims) {
    shape.push_back(dim.size);
    from += (from.empty() || dim.field.empty() ? "" : ", ") + dim.field;
  }
  return from.empty() ? ShapeString(shape) : StrCat(ShapeString(shape), " (", from, ")");
}

}  // namespace

std::string TensorPicker::Where(const StoredTensor& tensor) const {
  return StrCat(tensor.file.empty() ? path_ : tensor.file, ": tensor ", Quoted(tensor.name));
}

Result<const StoredTensor*> TensorPicker::Take(const std::string& name, const std::vector<Dims>& shapes) {
  const auto found = store_.tensors.find(name);
  if (found == store_.tensors.end()) {
    return Missing(name, shapes.front());
  }
  const StoredTensor& tensor = found->second;
  if (std::none_of(shapes.begin(), shapes.end(), [&](const Dims& dims) { return HasShape(tensor, dims); })) {
    return DataError(Where(tensor), " has shape ", ShapeString(tensor.shape), "; expected ",
                     ExpectedShape(shapes.front()));
  }
  used_.insert(name);
  return &tensor;
}

const StoredTensor* TensorPicker::TakeIfStored(const std::string& name) {
  const auto found = store_.tensors.find(name);
  if (found == store_.tensors.end()) {
    return nullptr;
  }
  used_.insert(name);
  return &found->second;
}

Result<WeightMatrix> TensorPicker::Matrix(const std::string& name, const Dim& rows, const Dim& cols) {
  ASSIGN_OR_RETURN(const StoredTensor* tensor, Take(name, {{rows, cols}}));
  const bool q8 = tensor->dtype == DType::kQ8_0 && config_.naming == TensorNaming::kGguf;
  if (!q8 && !IsFloat(tensor->dtype)) {
    return Unsupported(Where(*tensor), " has dtype ", DTypeName(tensor->dtype), "; weights are F32, F16 or BF16",
                       config_.naming == TensorNaming::kGguf ? ", or Q8_0" : "",
                       config_.quantization ? " (quantization_config leaves this one in float)" : "");
  }
  if (q8 && cols.size % kQ8BlockElements != 0) {
    return DataError(Where(*tensor), " is Q8_0 with rows of ", cols.size, " elements; expected a multiple of ",
                     kQ8BlockElements);
  }
  RETURN_IF_ERROR(CheckBytes(*tensor));
  return WeightMatrix{tensor->dtype, tensor->data, rows.size, cols.size};
}

Status TensorPicker::CheckBytes(const StoredTensor& tensor) const {
  int64_t elements = 1;  // the shape has been compared with what the configuration implies: no overflow
  for (const int64_t dim : tensor.shape) {
    elements *= dim;
  }
  const int64_t bytes = DTypeBytes(tensor.dtype, elements);
  if (tensor.data == nullptr || tensor.bytes != static_cast<size_t>(bytes)) {
    return DataError(Where(tensor), " has ", tensor.bytes, " bytes; expected ", bytes);
  }
  return {};
}

Result<std::vector<float>> TensorPicker::Vector(const std::string& name, const Dim& size) {
  ASSIGN_OR_RETURN(const StoredTensor* tensor, Take(name, {{size}}));
  return Floats(*tensor, "norms and biases");
}

Result<std::vector<float>> TensorPicker::Floats(const StoredTensor& tensor, const char* what) const {
  if (!IsFloat(tensor.dtype)) {
    return Unsupported(Where(tensor), " has dtype ", DTypeName(tensor.dtype), "; ", what, " are F32, F16 or BF16");
  }
  RETURN_IF_ERROR(CheckBytes(tensor));
  std::vector<float> values(tensor.bytes / static_cast<size_t>(DTypeBytes(tensor.dtype, 1)));
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = LoadFloat(tensor, static_cast<int64_t>(i));
    if (!std::isfinite(values[i])) {
      return DataError(Where(tensor), " holds ", values[i], " at index ", i, "; expected finite numbers");
    }
  }
  return values;
}

Status TensorPicker::Missing(const std::string& name, const Dims& dims) const {
  const std::set<std::string> expected = ExpectedNames();
  const std::string similar = FindSimilarName(
      store_, name, [&](const std::string& other) { return expected.count(other) != 0 || IsIgnoredTensor(other); });
  return NotFound(path_, ": tensor ", Quoted(name), " of shape ", ExpectedShape(dims), " is missing; ",
                  similar.empty() ? "found " + DescribeNames(store_) : "is it " + Quoted(similar) + "?");
}

Status TensorPicker::CheckNothingIsLeft() const {
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

// Also names that only quantised layers have: they are never meant by another name.
std::set<std::string> TensorPicker::ExpectedNames() const {
  const ModelTensorStems model = ModelStems(config_.naming, config_.n_layers);
  std::set<std::string> names;
  const auto add = [&names](const std::string& stem) {
    for (const char* suffix :
         {".weight", ".bias", ".weight_scale", ".weight_zero_point", ".input_scale", ".input_zero_point"}) {
      names.insert(stem + suffix);
    }
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

}  // namespace phidias
