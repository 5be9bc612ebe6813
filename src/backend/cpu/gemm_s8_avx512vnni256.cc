// gemm_s8_vnni256.h in AVX-512's encoding (see kAvx512Vnni256GemmS8).
#define PHIDIAS_DPBUSD(acc, a, b) _mm256_dpbusd_epi32(acc, a, b)
#include "backend/cpu/gemm_s8_vnni256.h"

namespace phidias::cpu {

const GemmS8 kAvx512Vnni256GemmS8 = {
    .isa = "avx512vnni256",
    .supported = [] { return __builtin_cpu_supports("avx512vnni") != 0 && __builtin_cpu_supports("avx512vl") != 0; },
    .run = RunTiles<RowTile256>,
    .packed = RunPackedTiles<PackedTile256>,
};

}  // namespace phidias::cpu
