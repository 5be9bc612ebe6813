// AVX2 and F16C: 16 lanes are two registers; 8 of the 16 hold accumulators.
#define PHIDIAS_ISA avx2
#define PHIDIAS_PART_BYTES 32
#define PHIDIAS_TILE_M 2
#define PHIDIAS_TILE_N 2
#define PHIDIAS_STREAMS 6
#define PHIDIAS_AHEAD_BYTES 1024
#define PHIDIAS_VALUE_ROWS 4
#define PHIDIAS_VALUE_GROUPS 1
#define PHIDIAS_VALUE_GROUPS_S8 2
#define PHIDIAS_ONE_ROW_GROUPS 5
#define PHIDIAS_SCORE_KEYS 2
#include <cpuid.h>

#include "backend/cpu/attention_lanes.h"
#include "backend/cpu/attention_s8_lanes.h"
#include "backend/cpu/integer_kernels_lanes.h"
#include "backend/cpu/kernels_lanes.h"
#include "backend/cpu/linear_lanes.h"

namespace phidias::cpu {
namespace {

// Not every clang knows __builtin_cpu_supports("f16c").
bool HasF16c() {
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}

}  // namespace

const Kernels kAvx2Kernels = {
    .isa = "avx2",
    .supported = [] { return __builtin_cpu_supports("avx2") != 0 && HasF16c(); },
    .linear_block = PHIDIAS_TILE_N,
    .linear = avx2::Linear,
    .layer_norm = avx2::LayerNorm,
    .gelu = avx2::Gelu,
    .add_residual = avx2::AddResidual,
    .rotary = avx2::Rotary,
    .store_row = avx2::StoreRow,
    .attention = avx2::Attention,
    .quantize_row = avx2::QuantizeRow,
    .min_max = avx2::MinMax,
    .dequantize_acc = avx2::DequantizeAcc,
    .integer = {.layer_norm = avx2::LayerNormS32,
                .requantize_row = avx2::RequantizeRow,
                .rotary = avx2::RotaryS16,
                .attention = avx2::AttentionS8,
                .gelu = avx2::GeluS8,
                .add_residual = avx2::AddResidualS32},
};

}  // namespace phidias::cpu
