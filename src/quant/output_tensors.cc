#include "quant/output_tensors.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "backend/int4_rows.h"
#include "numerics/half.h"
#include "quant/quantizer.h"
#include "ref/decode_row.h"

namespace phidias {
namespace {

constexpr int64_t kBlockBytes = int64_t{4} << 20;

using Sink = OutputTensor::Sink;

template <class T>
std::span<const std::byte> Bytes(const std::vector<T>& values) {
  return std::as_bytes(std::span(values));
}

template <class Encode>
std::vector<uint16_t> EncodeHalf(std::span<const float> values, Encode encode) {
  std::vector<uint16_t> out(values.size());
  std::transform(values.begin(), values.end(), out.begin(), encode);
  return out;
}

// The dtype that a model's vectors are most likely stored in: that of its matrices.
DType PlainDType(DType dtype) {
  return dtype == DType::kQ8_0 ? DType::kF16 : dtype;
}

// `preferred` where it holds every value exactly, else F32.
DType ExactDType(const std::vector<float>& values, DType preferred) {
  const auto same = [&](float value) {
    switch (preferred) {
      case DType::kF16: return numerics::HalfToFloat(numerics::FloatToHalf(value)) == value;
      case DType::kBF16: return numerics::Bfloat16ToFloat(numerics::FloatToBfloat16(value)) == value;
      default: return true;
    }
  };
  return std::all_of(values.begin(), values.end(), same) ? preferred : DType::kF32;
}

Status WriteFloats(const std::vector<float>& values, DType dtype, const Sink& sink) {
  switch (dtype) {
    case DType::kF16: return sink(Bytes(EncodeHalf(values, [](float value) { return numerics::FloatToHalf(value); })));
    case DType::kBF16:
      return sink(Bytes(EncodeHalf(values, [](float value) { return numerics::FloatToBfloat16(value); })));
    default: return sink(Bytes(values));
  }
}

// Rows of `source` as `dtype` (F32 or F16), a block at a time.
Status WriteRows(const WeightSource& source, DType dtype, const Sink& sink) {
  std::vector<float> row(static_cast<size_t>(source.matrix.cols));
  for (int64_t n = 0; n < source.matrix.rows; ++n) {
    source.Row(n, row.data());
    RETURN_IF_ERROR(WriteFloats(row, dtype, sink));
  }
  return {};
}

Status WriteStored(const WeightMatrix& matrix, const Sink& sink) {
  const int64_t total = matrix.rows * matrix.RowBytes();
  for (int64_t at = 0; at < total; at += kBlockBytes) {
    RETURN_IF_ERROR(sink({matrix.data + at, static_cast<size_t>(std::min(kBlockBytes, total - at))}));
  }
  return {};
}

Status WriteInt8(const LinearPlan& linear, ThreadPool* pool, const Sink& sink) {
  const WeightMatrix& matrix = linear.source.matrix;
  const int64_t block = std::max<int64_t>(1, kBlockBytes / matrix.cols);
  std::vector<int8_t> rows;
  for (int64_t begin = 0; begin < matrix.rows; begin += block) {
    const int64_t end = std::min(begin + block, matrix.rows);
    rows.resize(static_cast<size_t>((end - begin) * matrix.cols));
    QuantizeWeightRows(linear.source, linear.quant, begin, end, rows.data(), pool);
    RETURN_IF_ERROR(sink(Bytes(rows)));
  }
  return {};
}

// Blocks of `linear` in 4 bits.
Status WriteInt4(const LinearPlan& linear, ThreadPool* pool, const Sink& sink) {
  const WeightMatrix& matrix = linear.source.matrix;
  const int64_t row_bytes = DTypeBytes(DType::kI4, matrix.cols);
  const int64_t block = std::max<int64_t>(1, kBlockBytes / row_bytes);
  std::vector<std::byte> rows;
  for (int64_t begin = 0; begin < matrix.rows; begin += block) {
    const int64_t end = std::min(begin + block, matrix.rows);
    rows.resize(static_cast<size_t>((end - begin) * row_bytes));
    PackRows(linear, begin, end, rows.data(), pool);
    RETURN_IF_ERROR(sink(rows));
  }
  return {};
}

class TensorList {
 public:
  TensorList(const Checkpoint& source, const QuantPlan& plan, ThreadPool* pool)
      : source_(source), plan_(plan), pool_(pool), vectors_(PlainDType(source.weights.embed_tokens.dtype)) {}

  std::vector<OutputTensor> Make();

 private:
  void Add(const std::string& name, DType dtype, std::vector<int64_t> shape, OutputPart part,
           std::function<Status(const Sink&)> write) {
    out_.push_back({{name, dtype, std::move(shape)}, part, std::move(write)});
  }
  // `values` must outlive the result.
  void AddVector(const std::string& name, const std::vector<float>& values, OutputPart part) {
    if (!values.empty()) {
      const DType dtype = ExactDType(values, vectors_);
      Add(name, dtype, {static_cast<int64_t>(values.size())}, part,
          [&values, dtype](const Sink& sink) { return WriteFloats(values, dtype, sink); });
    }
  }
  void AddNorm(const LayerNormWeights& norm) {
    AddVector(norm.name + ".weight", norm.weight, OutputPart::kNorms);
    AddVector(norm.name + ".bias", norm.bias, OutputPart::kNorms);
  }
  void AddFloatMatrix(const std::string& name, const WeightSource& source, bool changed, OutputPart part);
  void AddInt8(const LinearPlan& linear, OutputPart part);
  void AddInt4(const LinearPlan& linear, OutputPart part);
  void AddInt8Values(const std::string& name, std::vector<int64_t> shape, std::vector<int8_t> values, OutputPart part) {
    Add(name, DType::kI8, std::move(shape), part,
        [values = std::move(values)](const Sink& sink) { return sink(Bytes(values)); });
  }
  void AddInput(const LinearPlan& linear, OutputPart part);
  void AddLinear(const LinearPlan& linear, OutputPart part);

  const Checkpoint& source_;
  const QuantPlan& plan_;
  ThreadPool* pool_;
  DType vectors_;
  std::vector<OutputTensor> out_;
};

void TensorList::AddFloatMatrix(const std::string& name, const WeightSource& source, bool changed, OutputPart part) {
  const std::vector<int64_t> shape = {source.matrix.rows, source.matrix.cols};
  if (changed || source.matrix.dtype == DType::kQ8_0) {
    const DType dtype = changed ? DType::kF32 : DType::kF16;
    Add(name, dtype, shape, part, [source, dtype](const Sink& sink) { return WriteRows(source, dtype, sink); });
    return;
  }
  Add(name, source.matrix.dtype, shape, part,
      [matrix = source.matrix](const Sink& sink) { return WriteStored(matrix, sink); });
}

void TensorList::AddInt4(const LinearPlan& linear, OutputPart part) {
  const WeightMatrix& matrix = linear.source.matrix;
  const int64_t groups = linear.quant.Groups(matrix.cols);
  Add(linear.name + ".weight_packed", DType::kI32, {matrix.rows, (matrix.cols + 7) / 8}, part,
      [&linear, pool = pool_](const Sink& sink) { return WriteInt4(linear, pool, sink); });
  Add(linear.name + ".weight_scale", DType::kF32, {matrix.rows, groups}, part,
      [&linear, groups](const Sink& sink) { return sink(Bytes(Int4Steps(linear.quant, groups))); });
  Add(linear.name + ".weight_shape", DType::kI64, {2}, part, [&matrix](const Sink& sink) {
    return sink(Bytes(std::vector<int64_t>{matrix.rows, matrix.cols}));
  });
}

void TensorList::AddInt8(const LinearPlan& linear, OutputPart part) {
  const WeightMatrix& matrix = linear.source.matrix;
  const bool per_row = plan_.scheme.granularity == Granularity::kChannel;
  const size_t count = per_row ? static_cast<size_t>(matrix.rows) : 1;
  const std::vector<int64_t> shape = per_row ? std::vector<int64_t>{matrix.rows, 1} : std::vector<int64_t>{1};
  Add(linear.name + ".weight", DType::kI8, {matrix.rows, matrix.cols}, part,
      [&linear, pool = pool_](const Sink& sink) { return WriteInt8(linear, pool, sink); });
  Add(linear.name + ".weight_scale", DType::kF32, shape, part,
      [&linear, count](const Sink& sink) { return sink(std::as_bytes(std::span(linear.quant.scale).first(count))); });
  if (!linear.quant.zero_point.empty()) {
    AddInt8Values(linear.name + ".weight_zero_point", shape,
                  {linear.quant.zero_point.begin(), linear.quant.zero_point.begin() + static_cast<ptrdiff_t>(count)},
                  part);
  }
}

void TensorList::AddInput(const LinearPlan& linear, OutputPart part) {
  if (linear.input.kind != InputQuant::Kind::kStatic) {
    return;
  }
  Add(linear.name + ".input_scale", DType::kF32, {1}, part,
      [scale = linear.input.scale](const Sink& sink) { return sink(std::as_bytes(std::span(&scale, 1))); });
  if (!linear.input.symmetric) {
    AddInt8Values(linear.name + ".input_zero_point", {1}, {static_cast<int8_t>(linear.input.zero_point)}, part);
  }
}

void TensorList::AddLinear(const LinearPlan& linear, OutputPart part) {
  if (linear.quantize) {
    linear.FourBits() ? AddInt4(linear, part) : AddInt8(linear, part);
    AddInput(linear, part);
  } else {
    AddFloatMatrix(linear.name + ".weight", linear.source, linear.HasFactors(), part);
  }
  AddVector(linear.name + ".bias", linear.bias, part);
}

std::vector<OutputTensor> TensorList::Make() {
  const PhiWeights& weights = source_.weights;
  AddFloatMatrix("model.embed_tokens.weight", {"", weights.embed_tokens, {}, {}}, false, OutputPart::kEmbedding);
  for (const LayerPlan& layer : plan_.layers) {
    AddNorm(layer.norm);
    for (const LinearPlan* linear : {&layer.q_proj, &layer.k_proj, &layer.v_proj, &layer.dense}) {
      AddLinear(*linear, OutputPart::kAttention);
    }
    AddLinear(layer.fc1, OutputPart::kMlp);
    AddLinear(layer.fc2, OutputPart::kMlp);
  }
  AddNorm(weights.final_layernorm);
  const bool tied = weights.lm_head.weight.data == weights.embed_tokens.data;
  if (tied && !plan_.lm_head.quantize) {
    AddVector(plan_.lm_head.name + ".bias", plan_.lm_head.bias, OutputPart::kLmHead);
  } else {
    AddLinear(plan_.lm_head, OutputPart::kLmHead);
  }
  return std::move(out_);
}

}  // namespace

int64_t OutputTensor::bytes() const {
  int64_t elements = 1;
  for (const int64_t dim : entry.shape) {
    elements *= dim;
  }
  return DTypeBytes(entry.dtype, elements);
}

std::vector<OutputTensor> OutputTensors(const Checkpoint& source, const QuantPlan& plan, ThreadPool* pool) {
  return TensorList(source, plan, pool).Make();
}

std::vector<int64_t> SourceBytes(const Checkpoint& source) {
  std::vector<int64_t> bytes(kOutputParts, 0);
  const PhiWeights& weights = source.weights;
  const int64_t vector_bytes = DTypeBytes(PlainDType(weights.embed_tokens.dtype), 1);
  const auto matrix = [](const WeightMatrix& m) { return m.rows * m.RowBytes(); };
  const auto add = [&](OutputPart part, const LinearWeights& linear) {
    bytes[static_cast<size_t>(part)] += matrix(linear.weight) + static_cast<int64_t>(linear.bias.size()) * vector_bytes;
  };
  const auto add_norm = [&](const LayerNormWeights& norm) {
    bytes[static_cast<size_t>(OutputPart::kNorms)] +=
        static_cast<int64_t>(norm.weight.size() + norm.bias.size()) * vector_bytes;
  };
  bytes[static_cast<size_t>(OutputPart::kEmbedding)] = matrix(weights.embed_tokens);
  for (const PhiLayerWeights& layer : weights.layers) {
    add_norm(layer.input_layernorm);
    for (const LinearWeights* linear : {&layer.q_proj, &layer.k_proj, &layer.v_proj, &layer.dense}) {
      add(OutputPart::kAttention, *linear);
    }
    add(OutputPart::kMlp, layer.fc1);
    add(OutputPart::kMlp, layer.fc2);
  }
  add_norm(weights.final_layernorm);
  add(OutputPart::kLmHead, weights.lm_head);
  if (weights.lm_head.weight.data == weights.embed_tokens.data) {
    bytes[static_cast<size_t>(OutputPart::kLmHead)] -= matrix(weights.lm_head.weight);
  }
  return bytes;
}

}  // namespace phidias
