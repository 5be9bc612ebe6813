// gemm_i4_vnni256.h in AVX-512's encoding (see kAvx512Vnni256GemmI4).
#define PHIDIAS_DPBUSD(acc, a, b) _mm256_dpbusd_epi32(acc, a, b)
#define PHIDIAS_DPWSSD(acc, a, b) _mm256_dpwssd_epi32(acc, a, b)
#include "backend/cpu/gemm_i4_vnni256.h"
#include "backend/cpu/gemm_s8.h"

namespace phidias::cpu {

const GemmI4 kAvx512Vnni256GemmI4 = {
    .isa = "avx512vnni256",
    .supported = [] { return kAvx512Vnni256GemmS8.supported(); },
    .packed = RunPackedTiles<TileI4<Chunk256<VnniSteps>>>,
};

}  // namespace phidias::cpu
