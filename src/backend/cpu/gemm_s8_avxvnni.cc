// AVX-VNNI: vpdpbusd on machines with AVX2 and without AVX-512.
#define PHIDIAS_DPBUSD(acc, a, b) _mm256_dpbusd_avx_epi32(acc, a, b)
#include "backend/cpu/gemm_s8_vnni256.h"
#include "backend/cpu/processor.h"

namespace phidias::cpu {

const GemmS8 kAvxVnniGemmS8 = {
    .isa = "avxvnni",
    .supported = HasAvxVnni,
    .run = RunTiles<RowTile256>,
    .packed = RunPackedTiles<PackedTile256>,
};

}  // namespace phidias::cpu
