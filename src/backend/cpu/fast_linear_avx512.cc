// linear_lanes.h with fused multiplication and addition: compiled with -ffp-contract=fast.
#define PHIDIAS_ISA avx512fma
#define PHIDIAS_PART_BYTES 64
#define PHIDIAS_TILE_M 4
#define PHIDIAS_TILE_N 6
#define PHIDIAS_STREAMS 6
#define PHIDIAS_AHEAD_BYTES 1024
#include "backend/cpu/fast_linear.h"
#include "backend/cpu/linear_lanes.h"

namespace phidias::cpu {

const FastLinear kAvx512FmaLinear = {.name = "fma",
                                     .isa = "avx512",
                                     .supported = [] { return kAvx512Kernels.supported(); },
                                     .block = PHIDIAS_TILE_N,
                                     .scratch_floats = [](int64_t k) { return PHIDIAS_TILE_N * (k + 16); },
                                     .run = avx512fma::Linear};

}  // namespace phidias::cpu
