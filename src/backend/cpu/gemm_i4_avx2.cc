// AVX2 with packed 4-bit weights (packed_i4.h): vpmaddubsw doesn't saturate with 0..15 (two products are at most 3840),
// and a chunk's eight of them stay within 16 bits. The sums of two times two inputs of a column are neighbours, so
// vpmaddwd multiplies both with the multiplier and adds them. The first begins at -7 sum x, which also stays within 16
// bits once the chunk is complete (+-30608); on the way it may wrap, which does no harm.
#include "backend/cpu/gemm_i4_256.h"
#include "backend/cpu/gemm_s8.h"

namespace phidias::cpu {
namespace {

struct Avx2Steps {
  // -multiplier in both halves of each lane.
  static inline __attribute__((always_inline)) __m256i Multipliers(const uint8_t* at) {
    const __m256i wide = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(at)));
    return _mm256_sub_epi16(_mm256_setzero_si256(), _mm256_or_si256(wide, _mm256_slli_epi32(wide, 16)));
  }

  static inline __attribute__((always_inline)) __m256i Start(int32_t offset) {
    return _mm256_set1_epi32(offset & 0xffff);
  }

  static inline __attribute__((always_inline)) __m256i Dot(__m256i sums, __m256i w, __m256i x) {
    return _mm256_add_epi16(sums, _mm256_maddubs_epi16(w, x));
  }

  static inline __attribute__((always_inline)) __m256i AddScaled(__m256i total, __m256i sums, __m256i multiplier) {
    return _mm256_add_epi32(total, _mm256_madd_epi16(sums, multiplier));
  }

  static inline __attribute__((always_inline)) __m256i OneChunk(const uint8_t* w, const int8_t* x, int32_t offset) {
    const __m256i lower = _mm256_set1_epi8(15);
    __m256i low = Start(offset);
    __m256i high = _mm256_setzero_si256();
#pragma GCC unroll 4
    for (int64_t step = 0; step < kI4Chunk / kI4Step; ++step) {
      const __m256i both = Load(w + step * kI4StepBytes);
      const int8_t* inputs = x + step * kI4Step;
      low = Dot(low, _mm256_and_si256(both, lower), Broadcast(inputs));
      high = Dot(high, _mm256_and_si256(_mm256_srli_epi16(both, 4), lower), Broadcast(inputs + 4));
    }
    return _mm256_add_epi16(low, high);
  }
};

}  // namespace

const GemmI4 kAvx2GemmI4 = {
    .isa = "avx2",
    .supported = [] { return kAvx2GemmS8.supported(); },
    .packed = RunPackedTiles<TileI4<Chunk256<Avx2Steps>>>,
};

}  // namespace phidias::cpu
