#include "model/quantized_binding.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "numerics/quantize.h"

namespace phidias {
namespace {

// Shapes of one number: as llm-compressor writes it first, then those that others write.
std::vector<Dims> OneNumber() {
  return {{{1, ""}}, {}, {{1, ""}, {1, ""}}};
}

std::vector<Dims> PerRowOrTensor(const WeightScheme& scheme, const Dim& rows) {
  return scheme.per_channel ? std::vector<Dims>{{rows, {1, ""}}, {rows}} : OneNumber();
}

// Reads the quantisation parameters of one layer.
class ParameterReader {
 public:
  ParameterReader(const QuantizationGroup& group, std::string stem, TensorPicker* tensors)
      : group_(group), stem_(std::move(stem)), tensors_(*tensors) {}

  Result<WeightMatrix> Int8Matrix(const Dim& rows, const Dim& cols);
  Result<WeightQuant> WeightParameters(const WeightScheme& scheme, const Dim& rows);
  Result<InputQuant> InputParameters(const QuantizationScheme& scheme);
  // Tensors that the scheme has no use for: their presence says that file and configuration don't belong together.
  Status CheckAbsent(const char* suffix, const char* why) const;

 private:
  Result<std::vector<float>> Scales(const char* suffix, const std::vector<Dims>& shapes);
  Result<std::vector<int32_t>> ZeroPoints(const char* suffix, const std::vector<Dims>& shapes);
  Status CheckZero(const char* suffix, const char* args);

  const QuantizationGroup& group_;
  std::string stem_;
  TensorPicker& tensors_;
};

Result<WeightMatrix> ParameterReader::Int8Matrix(const Dim& rows, const Dim& cols) {
  ASSIGN_OR_RETURN(const StoredTensor* tensor, tensors_.Take(stem_ + ".weight", {{rows, cols}}));
  if (tensor->dtype != DType::kI8) {
    return DataError(tensors_.Where(*tensor), " has dtype ", DTypeName(tensor->dtype), "; expected I8, as ",
                     group_.field, " quantises this layer (a model that is only prepared for quantisation must be ",
                     "saved compressed)");
  }
  RETURN_IF_ERROR(tensors_.CheckBytes(*tensor));
  return WeightMatrix{tensor->dtype, tensor->data, rows.size, cols.size};
}

Result<std::vector<float>> ParameterReader::Scales(const char* suffix, const std::vector<Dims>& shapes) {
  ASSIGN_OR_RETURN(const StoredTensor* tensor, tensors_.Take(stem_ + suffix, shapes));
  ASSIGN_OR_RETURN(std::vector<float> scales, tensors_.Floats(*tensor, "scales"));
  for (size_t i = 0; i < scales.size(); ++i) {
    if (scales[i] <= 0.0F) {
      return DataError(tensors_.Where(*tensor), " holds ", scales[i], " at index ", i, "; expected positive numbers");
    }
    scales[i] = std::max(scales[i], numerics::kMinScale);
  }
  return scales;
}

Result<std::vector<int32_t>> ParameterReader::ZeroPoints(const char* suffix, const std::vector<Dims>& shapes) {
  ASSIGN_OR_RETURN(const StoredTensor* tensor, tensors_.Take(stem_ + suffix, shapes));
  if (tensor->dtype != DType::kI8) {
    return Unsupported(tensors_.Where(*tensor), " has dtype ", DTypeName(tensor->dtype), "; zero points are I8");
  }
  RETURN_IF_ERROR(tensors_.CheckBytes(*tensor));
  std::vector<int32_t> values(tensor->bytes);
  for (size_t i = 0; i < values.size(); ++i) {
    int8_t value = 0;
    std::memcpy(&value, tensor->data + i, sizeof value);
    values[i] = value;
  }
  return values;
}

// Some writers store a zero point of zeros, of whatever type, beside symmetric scales.
Status ParameterReader::CheckZero(const char* suffix, const char* args) {
  const StoredTensor* tensor = tensors_.TakeIfStored(stem_ + suffix);
  if (tensor == nullptr || tensor->data == nullptr ||
      std::all_of(tensor->data, tensor->data + tensor->bytes, [](std::byte b) { return b == std::byte{0}; })) {
    return {};
  }
  return DataError(tensors_.Where(*tensor), " isn't all zero, but ", group_.field, ".", args, ".symmetric is true");
}

Status ParameterReader::CheckAbsent(const char* suffix, const char* why) const {
  const StoredTensor* tensor = tensors_.TakeIfStored(stem_ + suffix);
  if (tensor != nullptr) {
    return DataError(tensors_.Where(*tensor), " is there, but ", group_.field, ".", why);
  }
  return {};
}

Result<WeightQuant> ParameterReader::WeightParameters(const WeightScheme& scheme, const Dim& rows) {
  const std::vector<Dims> shapes = PerRowOrTensor(scheme, rows);
  const auto n = static_cast<size_t>(rows.size);
  WeightQuant quant;
  ASSIGN_OR_RETURN(quant.scale, Scales(".weight_scale", shapes));
  quant.scale.resize(n, quant.scale.front());
  if (scheme.symmetric) {
    RETURN_IF_ERROR(CheckZero(".weight_zero_point", "weights"));
    return quant;
  }
  ASSIGN_OR_RETURN(quant.zero_point, ZeroPoints(".weight_zero_point", shapes));
  quant.zero_point.resize(n, quant.zero_point.front());
  return quant;
}

Result<InputQuant> ParameterReader::InputParameters(const QuantizationScheme& scheme) {
  InputQuant input = {.kind = scheme.input, .symmetric = scheme.input_symmetric};
  if (scheme.input != InputQuant::Kind::kStatic) {
    const char* why =
        scheme.input == InputQuant::Kind::kDynamic ? "input_activations.dynamic is true" : "input_activations is null";
    RETURN_IF_ERROR(CheckAbsent(".input_scale", why));
    RETURN_IF_ERROR(CheckAbsent(".input_zero_point", why));
    return input;
  }
  ASSIGN_OR_RETURN(const std::vector<float> scale, Scales(".input_scale", OneNumber()));
  input.scale = scale.front();
  if (scheme.input_symmetric) {
    RETURN_IF_ERROR(CheckZero(".input_zero_point", "input_activations"));
    return input;
  }
  ASSIGN_OR_RETURN(const std::vector<int32_t> zero_point, ZeroPoints(".input_zero_point", OneNumber()));
  input.zero_point = zero_point.front();
  return input;
}

}  // namespace

Status BindQuantizedLinear(const QuantizationGroup& group, const std::string& stem, const Dim& rows, const Dim& cols,
                           TensorPicker* tensors, Int4Binder* int4, LinearWeights* out) {
  ParameterReader reader(group, stem, tensors);
  if (group.scheme.weights && group.scheme.weights->bits == 4) {
    RETURN_IF_ERROR(int4->Bind(group, stem, rows, cols, tensors, out));
  } else if (group.scheme.weights) {
    ASSIGN_OR_RETURN(out->weight, reader.Int8Matrix(rows, cols));
    ASSIGN_OR_RETURN(out->quant, reader.WeightParameters(*group.scheme.weights, rows));
  } else {
    ASSIGN_OR_RETURN(out->weight, tensors->Matrix(stem + ".weight", rows, cols));
    for (const char* suffix : {".weight_scale", ".weight_zero_point"}) {
      RETURN_IF_ERROR(reader.CheckAbsent(suffix, "weights is null"));
    }
  }
  ASSIGN_OR_RETURN(out->input, reader.InputParameters(group.scheme));
  return {};
}

}  // namespace phidias
