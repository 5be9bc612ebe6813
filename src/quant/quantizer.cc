#include "quant/quantizer.h"

#include <cstring>
#include <memory>
#include <utility>

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
  if (plan.quantize) {
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

Checkpoint ApplyQuantPlan(const Checkpoint& source, const QuantPlan& plan, ThreadPool* pool) {
  Checkpoint out = source;
  for (size_t i = 0; i < plan.layers.size(); ++i) {
    const LayerPlan& layer = plan.layers[i];
    PhiLayerWeights& weights = out.weights.layers[i];
    weights.input_layernorm = layer.norm;
    ApplyLinear(layer.q_proj, pool, &out.store, &weights.q_proj);
    ApplyLinear(layer.k_proj, pool, &out.store, &weights.k_proj);
    ApplyLinear(layer.v_proj, pool, &out.store, &weights.v_proj);
    ApplyLinear(layer.dense, pool, &out.store, &weights.dense);
    ApplyLinear(layer.fc1, pool, &out.store, &weights.fc1);
    ApplyLinear(layer.fc2, pool, &out.store, &weights.fc2);
  }
  ApplyLinear(plan.lm_head, pool, &out.store, &out.weights.lm_head);
  return out;
}

Result<Checkpoint> QuantizeModel(const Checkpoint& source, const CalibrationStats* stats, const QuantScheme& scheme,
                                 ThreadPool* pool) {
  ASSIGN_OR_RETURN(const QuantPlan plan, MakeQuantPlan(source, stats, scheme, pool));
  return ApplyQuantPlan(source, plan, pool);
}

}  // namespace phidias
