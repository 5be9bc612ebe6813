#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "backend/backend.h"
#include "backend/integer_constants.h"
#include "backend/weights.h"
#include "common/status.h"
#include "common/thread_pool.h"
#include "numerics/integer.h"

namespace phidias {

// The `integer` arithmetic's view of a model: every constant that a kernel reads, made from the checkpoint's scales and
// IntegerConstants. The CPU and the card's host share it, so both run on the same numbers.

// A LayerNorm that leaves integers: ref::NormConstants.
struct IntegerNorm {
  std::vector<int32_t> gain;
  std::vector<int32_t> offset;
  int32_t gain_shift = 0;
  uint64_t eps_term = 1;
};

// A linear layer that leaves integers: ref::RequantizeConstants, and the weight where it lies. The sum of a row, with
// which the input's zero point is folded in, is sum_k q_w, for 4 bits sum_g multiplier * sum_{k in g} q_w.
struct IntegerLinear {
  const LinearWeights* source = nullptr;  // whose weight is kI8 or kI4
  int64_t n = 0;
  int64_t k = 0;
  std::vector<int32_t> bias;  // bias / (s_x s_w) - z_x * the row's sum
  std::vector<int32_t> multiplier;
  std::vector<int32_t> shift;
  int32_t zero_point = 0;
  int32_t low = 0;
  int32_t high = 0;
};

struct IntegerAttention {
  std::vector<numerics::FixedFactor> to_steps;  // [n_heads]
  std::vector<numerics::FixedFactor> ratio;     // [n_kv_heads]
  int32_t zero_point = 0;
};

struct IntegerLayer {
  IntegerNorm input_layernorm;  // to the int8 grid that q_proj, k_proj, v_proj and fc1 share
  IntegerLinear q_proj;         // to int16, kRotaryGuardBits above the head's int8 grid
  IntegerLinear k_proj;         // likewise
  IntegerLinear v_proj;         // to the head's int8 grid
  IntegerLinear dense;          // to the residual's steps
  IntegerLinear fc1;            // to the int8 grid on which gelu is a table
  IntegerLinear fc2;            // to the residual's steps
  IntegerAttention attention;
  int8_t gelu_table[256] = {};  // index q + 128
};

// lm_head on int16 activations: logits[n] = (sum_k q_w q_x + bias[n]) * scale[n]. The weight is one int8 plane, or two
// of an int16 (value = 256 * high + low + 128), owned: the checkpoint's lm_head is usually float.
struct IntegerHead {
  int64_t n = 0;
  int64_t k = 0;
  std::vector<int8_t> high;  // [n, k] the whole weight where it has 8 bits
  std::vector<int8_t> low;   // [n, k], or empty
  std::vector<int32_t> high_sum;
  std::vector<int32_t> low_sum;
  std::vector<int64_t> bias;
  std::vector<float> scale;
};

struct IntegerModel {
  ModelShape shape;
  int32_t residual_shift = 0;
  float final_norm_scale = 1.0F;
  WeightMatrix embed_tokens;
  std::vector<IntegerLayer> layers;
  IntegerNorm final_layernorm;  // to int16
  IntegerHead lm_head;
  int32_t exp_table[numerics::kExpTableSize] = {};
  std::vector<int16_t> cos;  // [max_positions, rotary_dim / 2] Q1.14
  std::vector<int16_t> sin;
};

// What BuildIntegerModel reads: pointers into the checkpoint.
struct IntegerSources {
  struct Layer {
    const LayerNormWeights* input_layernorm = nullptr;
    const LinearWeights* q_proj = nullptr;
    const LinearWeights* k_proj = nullptr;
    const LinearWeights* v_proj = nullptr;
    const LinearWeights* dense = nullptr;
    const LinearWeights* fc1 = nullptr;
    const LinearWeights* fc2 = nullptr;
  };
  WeightMatrix embed_tokens;
  std::vector<Layer> layers;
  const LayerNormWeights* final_layernorm = nullptr;
  const LinearWeights* lm_head = nullptr;
};

// Errors name the layer and what it lacks: a linear that isn't int8 with symmetric weights, or 4-bit, and a static
// input scale; q, k, v and fc1 that don't share their input's scale; constants of another shape; a context above
// kMaxIntegerContext; more than 8,192 channels (LayerNorm's sum of squares). The weights are read once, by all threads
// of the pool.
Result<std::unique_ptr<IntegerModel>> BuildIntegerModel(const ModelShape& shape, const IntegerSources& sources,
                                                        const IntegerConstants& constants, ThreadPool& pool);

}  // namespace phidias
