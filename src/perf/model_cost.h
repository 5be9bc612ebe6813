#pragma once

#include <cstdint>
#include <span>

#include "backend/backend.h"
#include "engine/loaded_model.h"
#include "model/checkpoint.h"

namespace phidias {

// The least that a step must move and compute.
struct StepCost {
  int64_t bytes = 0;     // read from memory: weights, once; keys and values, once per sequence; rows of the embedding
  int64_t products = 0;  // multiplications of linear layers and attention

  StepCost& operator+=(const StepCost& other) {
    bytes += other.bytes;
    products += other.products;
    return *this;
  }
};

// Costs from a model's shapes and stored types, the multipliers of 4-bit weights among them. Scales, biases and
// LayerNorms, less than a thousandth, aren't counted.
class ModelCost {
 public:
  // `kv_bytes_per_position`: of one sequence, all layers.
  ModelCost(const Checkpoint& checkpoint, Arithmetic arithmetic, int64_t kv_bytes_per_position);

  // Rows of one sequence must be neighbours.
  StepCost Of(std::span<const StepRow> rows) const;

  int64_t parameters() const { return parameters_; }    // of all matrices
  int64_t weight_bytes() const { return file_bytes_; }  // of all matrices, as stored

 private:
  int64_t layer_bytes_ = 0;     // matrices of all layers
  int64_t layer_products_ = 0;  // of a row in all layers' linear layers
  int64_t lm_head_bytes_ = 0;
  int64_t lm_head_products_ = 0;
  int64_t embedding_row_bytes_ = 0;
  int64_t attention_products_ = 0;  // per row and position that it attends to
  int64_t kv_bytes_ = 0;
  int64_t parameters_ = 0;
  int64_t file_bytes_ = 0;
};

}  // namespace phidias
