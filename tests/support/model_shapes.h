#pragma once

#include "backend/backend.h"

namespace phidias::testing_support {

inline constexpr ModelShape kPhi2 = {.n_layers = 32,
                                     .hidden_size = 2560,
                                     .intermediate_size = 10240,
                                     .n_heads = 32,
                                     .n_kv_heads = 32,
                                     .head_dim = 80,
                                     .rotary_dim = 32,
                                     .vocab_size = 51200,
                                     .max_positions = 2048};

}  // namespace phidias::testing_support
