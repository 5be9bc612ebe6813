#include "perf/model_cost.h"

namespace phidias {
namespace {

// As stored, with the multipliers of 4-bit weights, which are one in 17 to 65 of their bytes.
int64_t WeightBytes(const LinearWeights& linear) {
  return linear.weight.rows * linear.weight.RowBytes() + static_cast<int64_t>(linear.quant.multiplier.size());
}

}  // namespace

ModelCost::ModelCost(const Checkpoint& checkpoint, Arithmetic arithmetic, int64_t kv_bytes_per_position)
    : kv_bytes_(kv_bytes_per_position) {
  const PhiWeights& weights = checkpoint.weights;
  for (const PhiLayerWeights& layer : weights.layers) {
    for (const LinearWeights* linear :
         {&layer.q_proj, &layer.k_proj, &layer.v_proj, &layer.dense, &layer.fc1, &layer.fc2}) {
      layer_bytes_ += WeightBytes(*linear);
      layer_products_ += linear->weight.rows * linear->weight.cols;
    }
  }
  const WeightMatrix& lm_head = weights.lm_head.weight;
  const WeightMatrix& embedding = weights.embed_tokens;
  lm_head_products_ = lm_head.rows * lm_head.cols;
  lm_head_bytes_ = WeightBytes(weights.lm_head);
  embedding_row_bytes_ = embedding.RowBytes();
  const PhiConfig& config = checkpoint.config;
  attention_products_ = 2 * config.n_layers * config.n_heads * config.head_dim;
  const bool tied = lm_head.data == embedding.data;
  parameters_ = layer_products_ + lm_head_products_ + (tied ? 0 : embedding.rows * embedding.cols);
  file_bytes_ = layer_bytes_ + lm_head_bytes_ + (tied ? 0 : embedding.rows * embedding.RowBytes());
  if (arithmetic == Arithmetic::kInteger && checkpoint.integer.has_value()) {
    lm_head_bytes_ = lm_head_products_ * checkpoint.integer->lm_head_bits / 8;  // quantised on loading
  }
}

StepCost ModelCost::Of(std::span<const StepRow> rows) const {
  StepCost cost;
  cost.bytes = layer_bytes_;
  bool logits = false;
  for (size_t i = 0; i < rows.size(); ++i) {
    const StepRow& row = rows[i];
    cost.bytes += embedding_row_bytes_;
    cost.products += layer_products_ + attention_products_ * (row.pos + 1) + (row.wants_logits ? lm_head_products_ : 0);
    logits = logits || row.wants_logits;
    const bool last_of_sequence = i + 1 == rows.size() || rows[i + 1].kv != row.kv;
    if (last_of_sequence) {
      cost.bytes += kv_bytes_ * (row.pos + 1);
    }
  }
  cost.bytes += logits ? lm_head_bytes_ : 0;
  return cost;
}

}  // namespace phidias
