// AVX-512 (F, BW, DQ, VL): 16 lanes are one register; 24 accumulators leave 8 for operands.
#define PHIDIAS_ISA avx512
#define PHIDIAS_PART_BYTES 64
#define PHIDIAS_TILE_M 4
#define PHIDIAS_TILE_N 6
#define PHIDIAS_STREAMS 6
#define PHIDIAS_AHEAD_BYTES 1024
#define PHIDIAS_VALUE_ROWS 4
#define PHIDIAS_VALUE_GROUPS 5
#define PHIDIAS_VALUE_GROUPS_S8 5
#define PHIDIAS_ONE_ROW_GROUPS 5
#define PHIDIAS_SCORE_KEYS 4
#include "backend/cpu/attention_lanes.h"
#include "backend/cpu/attention_s8_lanes.h"
#include "backend/cpu/integer_kernels_lanes.h"
#include "backend/cpu/kernels_lanes.h"
#include "backend/cpu/linear_lanes.h"

namespace phidias::cpu {

const Kernels kAvx512Kernels = {
    .isa = "avx512",
    .supported =
        [] {
          return __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512bw") != 0 &&
                 __builtin_cpu_supports("avx512dq") != 0 && __builtin_cpu_supports("avx512vl") != 0;
        },
    .linear_block = PHIDIAS_TILE_N,
    .linear = avx512::Linear,
    .layer_norm = avx512::LayerNorm,
    .gelu = avx512::Gelu,
    .add_residual = avx512::AddResidual,
    .rotary = avx512::Rotary,
    .store_row = avx512::StoreRow,
    .attention = avx512::Attention,
    .quantize_row = avx512::QuantizeRow,
    .min_max = avx512::MinMax,
    .dequantize_acc = avx512::DequantizeAcc,
    .integer = {.layer_norm = avx512::LayerNormS32,
                .requantize_row = avx512::RequantizeRow,
                .rotary = avx512::RotaryS16,
                .attention = avx512::AttentionS8,
                .gelu = avx512::GeluS8,
                .add_residual = avx512::AddResidualS32},
};

}  // namespace phidias::cpu
