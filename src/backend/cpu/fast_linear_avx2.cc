// linear_lanes.h with fused multiplication and addition: compiled with -ffp-contract=fast.
#define PHIDIAS_ISA avx2fma
#define PHIDIAS_PART_BYTES 32
#define PHIDIAS_TILE_M 2
#define PHIDIAS_TILE_N 2
#define PHIDIAS_STREAMS 6
#define PHIDIAS_AHEAD_BYTES 1024
#include "backend/cpu/fast_linear.h"
#include "backend/cpu/linear_lanes.h"

namespace phidias::cpu {

const FastLinear kAvx2FmaLinear = {
    .name = "fma",
    .isa = "avx2",
    .supported = [] { return kAvx2Kernels.supported() && __builtin_cpu_supports("fma") != 0; },
    .block = PHIDIAS_TILE_N,
    .scratch_floats = [](int64_t k) { return PHIDIAS_TILE_N * (k + 16); },
    .run = avx2fma::Linear};

}  // namespace phidias::cpu
