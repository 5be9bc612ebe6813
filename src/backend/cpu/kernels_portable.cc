// Any processor that the compiler targets: 16 lanes are four 128-bit vectors.
#define PHIDIAS_ISA portable
#define PHIDIAS_PART_BYTES 16
#define PHIDIAS_TILE_M 1
#define PHIDIAS_TILE_N 2
#define PHIDIAS_STREAMS 3
#define PHIDIAS_AHEAD_BYTES 1024
#define PHIDIAS_VALUE_ROWS 2
#define PHIDIAS_VALUE_GROUPS 1
#define PHIDIAS_VALUE_GROUPS_S8 1
#define PHIDIAS_ONE_ROW_GROUPS 2
#define PHIDIAS_SCORE_KEYS 2
#include "backend/cpu/attention_lanes.h"
#include "backend/cpu/attention_s8_lanes.h"
#include "backend/cpu/integer_kernels_lanes.h"
#include "backend/cpu/kernels_lanes.h"
#include "backend/cpu/linear_lanes.h"

namespace phidias::cpu {

const Kernels kPortableKernels = {
    .isa = "portable",
    .supported = [] { return true; },
    .linear_block = PHIDIAS_TILE_N,
    .linear = portable::Linear,
    .layer_norm = portable::LayerNorm,
    .gelu = portable::Gelu,
    .add_residual = portable::AddResidual,
    .rotary = portable::Rotary,
    .store_row = portable::StoreRow,
    .attention = portable::Attention,
    .quantize_row = portable::QuantizeRow,
    .min_max = portable::MinMax,
    .dequantize_acc = portable::DequantizeAcc,
    .integer = {.layer_norm = portable::LayerNormS32,
                .requantize_row = portable::RequantizeRow,
                .rotary = portable::RotaryS16,
                .attention = portable::AttentionS8,
                .gelu = portable::GeluS8,
                .add_residual = portable::AddResidualS32},
};

}  // namespace phidias::cpu
