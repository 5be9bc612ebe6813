#include "quant/quantizer.h"

#include <cstring>
#include <memory>
#include <utility>

#include "quant/int4_quantizer.h"

namespace phidias {
namespace {

// Memory of the store's own for `bytes` bytes.
std::byte* AddBuffer(int64_t bytes, TensorStore* store) {
  store->owned.push_back(std::make_shared<std::vector<std::byte>>(static_cast<size_t>(bytes)));
  return store->owned.back()->data();
}

void ApplyLinear(const LinearPlan& plan, ThreadPool* pool, TensorStore* store, LinearWeights* out) {
  const WeightMatrix& matrix = plan.source.matrix;
  out->bias = plan.bias;
  out->input = plan.input;
  if (plan.FourBits()) {
    std::byte* data = AddBuffer(matrix.rows * DTypeBytes(DType::kI4, matrix.cols), store);
    PackRows(plan, 0, matrix.rows, data, pool);
    out->weight = {DType::kI4, data, matrix.rows, matrix.cols};
    out->quant = plan.quant;
  } else if (plan.quantize) {
    std::byte* data = AddBuffer(matrix.rows * matrix.cols, store);
    QuantizeWeightRows(plan.source, plan.quant, 0, matrix.rows, reinterpret_cast<int8_t*>(data), pool);
    out->weight = {DType::kI8, data, matrix.rows, matrix.cols};
    out->quant = plan.quant;
  } else if (plan.HasFactors()) {
    std::byte* data = AddBuffer(matrix.rows * matrix.cols * static_cast<int64_t>(sizeof(float)), store);
    pool->ParallelFor(matrix.rows, 16, [&](int64_t begin, int64_t end, int /*thread*/) {
      for (int64_t n = begin; n < end; ++n) {
        plan.source.Row(n, reinterpret_cast<float*>(data) + n * matrix.cols);
      }
    });
    out->weight = {DType::kF32, data, matrix.rows, matrix.cols};
  }
}

}  // namespace

void PackRows(const LinearPlan& plan, int64_t begin, int64_t end, std::byte* out, ThreadPool* pool) {
  if (plan.packed == nullptr) {
    QuantizeInt4Rows(plan.source, plan.quant, begin, end, out, pool);
    return;
  }
  const int64_t row_bytes = DTypeBytes(DType::kI4, plan.source.matrix.cols);
  std::memcpy(out, plan.packed->data() + begin * row_bytes, static_cast<size_t>((end - begin) * row_bytes));
}

PhiLayerWeights ApplyLayerPlan(const PhiLayerWeights& source, const LayerPlan& plan, ThreadPool* pool,
                               TensorStore* store) {
  PhiLayerWeights out = source;
  out.input_layernorm = plan.norm;
  ApplyLinear(plan.q_proj, pool, store, &out.q_proj);
  ApplyLinear(plan.k_proj, pool, store, &out.k_proj);
  ApplyLinear(plan.v_proj, pool, store, &out.v_proj);
  ApplyLinear(plan.dense, pool, store, &out.dense);
  ApplyLinear(plan.fc1, pool, store, &out.fc1);
  ApplyLinear(plan.fc2, pool, store, &out.fc2);
  return out;
}

Checkpoint ApplyQuantPlan(const Checkpoint& source, const QuantPlan& plan, ThreadPool* pool) {
  Checkpoint out = source;
  for (size_t i = 0; i < plan.layers.size(); ++i) {
    PhiLayerWeights& weights = out.weights.layers[i];
    weights = ApplyLayerPlan(weights, plan.layers[i], pool, &out.store);
  }
  ApplyLinear(plan.lm_head, pool, &out.store, &out.weights.lm_head);
  out.integer = plan.integer;
  return out;
}

Result<Checkpoint> QuantizeModel(const Checkpoint& source, const CalibrationStats* stats, const QuantScheme& scheme,
                                 ThreadPool* pool) {
  ASSIGN_OR_RETURN(const QuantPlan plan, MakeQuantPlan(source, stats, scheme, pool));
  return ApplyQuantPlan(source, plan, pool);
}

}  // namespace phidias
