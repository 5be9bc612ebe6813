// AVX-512 VNNI with packed 4-bit weights (packed_i4.h). vpdpbusd multiplies the stored 0..15 by x; the sums of a chunk
// begin at -7 sum x, so they are -sum q x, which fits 16 bits, and one vpdpwssd multiplies them with -multiplier and
// adds the product to the total.
#include <immintrin.h>

#include "backend/cpu/gemm_i4_tiles.h"
#include "backend/cpu/gemm_s8.h"

namespace phidias::cpu {
namespace {

// -multiplier in the lower half of each lane, 0 in the upper: 65536 - multiplier.
inline __attribute__((always_inline)) __m512i Multipliers(const uint8_t* at) {
  const __m512i multiplier = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at)));
  return _mm512_sub_epi32(_mm512_set1_epi32(1 << 16), multiplier);
}

inline __attribute__((always_inline)) __m512i Broadcast(const int8_t* x) {
  return _mm512_set1_epi32(FourInputs(x));
}

struct Chunk {
  static constexpr int kTileM = 8;
  static constexpr int kTileBlocks = kGroupBlocks;

  template <int kM, int kBlocks>
  static __attribute__((noinline)) void Add(const PlaceI4& at, int32_t* total) {
    const uint8_t* w = at.w;
    const int8_t* x = at.x;
    const int64_t block_bytes = at.block_bytes;
    const int64_t inputs = at.inputs;
    const __m512i lower = _mm512_set1_epi8(15);
    __m512i acc[kM][kBlocks];
#pragma GCC unroll 8
    for (int m = 0; m < kM; ++m) {
      const __m512i start = _mm512_set1_epi32(at.offset[m * at.chunks]);
#pragma GCC unroll 4
      for (int n = 0; n < kBlocks; ++n) {
        acc[m][n] = start;
      }
    }
#pragma GCC unroll 4
    for (int64_t step = 0; step < kI4Chunk / kI4Step; ++step) {
#pragma GCC unroll 2
      for (int half = 0; half < 2; ++half) {
        __m512i weights[kBlocks];
#pragma GCC unroll 4
        for (int n = 0; n < kBlocks; ++n) {
          const __m512i both = _mm512_loadu_si512(w + n * block_bytes + step * kI4StepBytes);
          weights[n] = _mm512_and_si512(half == 0 ? both : _mm512_srli_epi16(both, 4), lower);
        }
#pragma GCC unroll 8
        for (int m = 0; m < kM; ++m) {
          const __m512i row = Broadcast(x + m * inputs + step * kI4Step + 4 * half);
#pragma GCC unroll 4
          for (int n = 0; n < kBlocks; ++n) {
            acc[m][n] = _mm512_dpbusd_epi32(acc[m][n], weights[n], row);
          }
        }
      }
    }
#pragma GCC unroll 4
    for (int n = 0; n < kBlocks; ++n) {
      const __m512i multiplier = Multipliers(at.multipliers + n * block_bytes);
#pragma GCC unroll 8
      for (int m = 0; m < kM; ++m) {
        int32_t* sum = total + (m * kBlocks + n) * kPackRows;
        _mm512_store_si512(sum, _mm512_dpwssd_epi32(_mm512_load_si512(sum), acc[m][n], multiplier));
      }
    }
  }

  // Upper halves stay where they are, 16 times their weight, until the chunk's sum.
  static __attribute__((noinline)) void OneRow(const ShapeI4& shape, const PlaceI4& at, int32_t* out) {
    const int32_t* offset = at.offset;
    const uint8_t* w = at.w;
    const __m512i lower = _mm512_set1_epi8(15);
    const __m512i upper = _mm512_set1_epi8(static_cast<char>(0xf0));
    __m512i total = _mm512_setzero_si512();
    for (int64_t group_begin = 0; group_begin < shape.k; group_begin += shape.group) {
      const __m512i multiplier = Multipliers(w);
      w += kPackRows;
      const int64_t end = std::min(shape.k, group_begin + shape.group);
      for (int64_t k = group_begin; k < end; k += kI4Chunk) {
        __m512i low = _mm512_set1_epi32(*offset++);
        __m512i high = _mm512_setzero_si512();
#pragma GCC unroll 4
        for (int64_t step = 0; step < kI4Chunk / kI4Step; ++step) {
          const __m512i weights = _mm512_loadu_si512(w + step * kI4StepBytes);
          const int8_t* x = at.x + k + step * kI4Step;
          low = _mm512_dpbusd_epi32(low, _mm512_and_si512(weights, lower), Broadcast(x));
          high = _mm512_dpbusd_epi32(high, _mm512_and_si512(weights, upper), Broadcast(x + 4));
        }
        w += kI4ChunkBytes;
        total = _mm512_dpwssd_epi32(total, _mm512_add_epi32(low, _mm512_srai_epi32(high, 4)), multiplier);
      }
    }
    _mm512_storeu_si512(out, total);
  }
};

}  // namespace

const GemmI4 kAvx512VnniGemmI4 = {
    .isa = "avx512",
    .supported = [] { return kAvx512VnniGemmS8.supported(); },
    .packed = RunPackedTiles<TileI4<Chunk>>,
};

}  // namespace phidias::cpu
