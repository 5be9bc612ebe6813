#pragma once

#include <cstdint>
#include <vector>

namespace phidias {

// The constants of the `integer` arithmetic (docs/numerics.md) that the checkpoint's own scales don't hold. Found by
// calibration, kept in a file of their own beside the checkpoint (docs/formats.md, `phidias_integer.json`).
struct IntegerLayerConstants {
  // int8 scales of the rotated queries and keys and of the values, symmetric, one per head: real = scale * q.
  std::vector<float> q_scale;  // [n_heads]
  std::vector<float> k_scale;  // [n_kv_heads]
  std::vector<float> v_scale;  // [n_kv_heads]
  // int8 grid of fc1's output, on which gelu is a table: real = fc1_scale * (q - fc1_zero_point).
  float fc1_scale = 1.0F;
  int32_t fc1_zero_point = 0;
};

struct IntegerConstants {
  int32_t residual_shift = 12;    // the residual stream counts in steps of 2^-residual_shift
  float final_norm_scale = 1.0F;  // int16 scale of final_layernorm's output, the input of lm_head: real = scale * q
  int32_t lm_head_bits = 8;       // 8 or 16: lm_head's weight per row
  std::vector<IntegerLayerConstants> layers;
};

}  // namespace phidias
