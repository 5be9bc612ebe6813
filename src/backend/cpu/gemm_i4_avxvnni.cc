// AVX-VNNI: vpdpbusd and vpdpwssd on machines with AVX2 and without AVX-512.
#define PHIDIAS_DPBUSD(acc, a, b) _mm256_dpbusd_avx_epi32(acc, a, b)
#define PHIDIAS_DPWSSD(acc, a, b) _mm256_dpwssd_avx_epi32(acc, a, b)
#include "backend/cpu/gemm_i4_vnni256.h"
#include "backend/cpu/processor.h"

namespace phidias::cpu {

const GemmI4 kAvxVnniGemmI4 = {
    .isa = "avxvnni",
    .supported = HasAvxVnni,
    .packed = RunPackedTiles<TileI4<Chunk256<VnniSteps>>>,
};

}  // namespace phidias::cpu
