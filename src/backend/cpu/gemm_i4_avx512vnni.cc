// AVX-512 VNNI with packed 4-bit weights (packed_i4.h). vpdpbusd multiplies the stored 0..15 by x; the sums of a chunk
// begin at -7 sum x, so they are -sum q x, which fits 16 bits, and one vpdpwssd multiplies them with -multiplier and
// adds the product to the total.
#include <immintrin.h>

#include <algorithm>

#include "backend/cpu/gemm_i4.h"
#include "backend/cpu/gemm_s8.h"
#include "backend/cpu/packed_tiles.h"

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

// Sums and totals both stay in registers, 24 of them: totals in memory cost a fifth of the time (512-bit stores that
// are read again a chunk later).
struct PackedTile {
  static constexpr int kTileM = 4;
  static constexpr int kTileBlocks = kGroupBlocks;

  template <int kM, int kBlocks>
  static __attribute__((noinline)) void Run(const PackedGemmI4Args& args, int64_t m0, int64_t block) {
    const ShapeI4 shape = args.shape;
    const int64_t block_bytes = shape.block_bytes();
    const uint8_t* w = args.packed + block * block_bytes;
    const int8_t* x = args.x + InputAt(shape, m0);
    const int32_t* offset = args.offset + OffsetAt(shape, m0);
    int32_t* out = args.acc + m0 * args.acc_stride + block * kPackRows;
    if constexpr (kM * kBlocks == 1) {
      OneRow(shape, x, offset, w, out);
      return;
    }
    __m512i total[kM][kBlocks];
#pragma GCC unroll 4
    for (int m = 0; m < kM; ++m) {
#pragma GCC unroll 4
      for (int n = 0; n < kBlocks; ++n) {
        total[m][n] = _mm512_setzero_si512();
      }
    }
    MultiplierLine line;
    int64_t k = 0;
    for (int64_t group = 0; k < shape.k; ++group) {
      const uint8_t* multipliers = line.Enter(group, w);
      const int64_t end = std::min(shape.k, k + shape.group);
      for (; k < end; k += kI4Chunk) {
        AddChunk<kM, kBlocks>(x, offset, w, multipliers, block_bytes, total);
        x += kI4InputBytes;
        offset += kI4InputRows;
        w += kI4ChunkBytes;
      }
    }
#pragma GCC unroll 4
    for (int m = 0; m < kM; ++m) {
#pragma GCC unroll 4
      for (int n = 0; n < kBlocks; ++n) {
        _mm512_storeu_si512(out + m * args.acc_stride + n * kPackRows, total[m][n]);
      }
    }
  }

  template <int kM, int kBlocks>
  static inline __attribute__((always_inline)) void AddChunk(const int8_t* x, const int32_t* offset, const uint8_t* w,
                                                             const uint8_t* multipliers, int64_t block_bytes,
                                                             __m512i (&total)[kM][kBlocks]) {
    __m512i acc[kM][kBlocks];
#pragma GCC unroll 4
    for (int m = 0; m < kM; ++m) {
      const __m512i start = _mm512_set1_epi32(offset[m]);
#pragma GCC unroll 4
      for (int n = 0; n < kBlocks; ++n) {
        acc[m][n] = start;
      }
    }
#pragma GCC unroll 8
    for (int step = 0; step < 2 * kI4Chunk / kI4Step; ++step) {  // lower halves, upper halves, lower, ...
      __m512i weights[kBlocks];
#pragma GCC unroll 4
      for (int n = 0; n < kBlocks; ++n) {
        const __m512i both = _mm512_loadu_si512(w + n * block_bytes + step / 2 * kI4StepBytes);
        weights[n] = _mm512_and_si512(step % 2 == 0 ? both : _mm512_srli_epi16(both, 4), _mm512_set1_epi8(15));
      }
#pragma GCC unroll 4
      for (int m = 0; m < kM; ++m) {
        const __m512i row = Broadcast(x + m * kI4Chunk + step * 4);
#pragma GCC unroll 4
        for (int n = 0; n < kBlocks; ++n) {
          acc[m][n] = _mm512_dpbusd_epi32(acc[m][n], weights[n], row);
        }
      }
    }
#pragma GCC unroll 4
    for (int n = 0; n < kBlocks; ++n) {
      const __m512i multiplier = Multipliers(multipliers + n * block_bytes);
#pragma GCC unroll 4
      for (int m = 0; m < kM; ++m) {
        total[m][n] = _mm512_dpwssd_epi32(total[m][n], acc[m][n], multiplier);
      }
    }
  }

  // Where one row has got to: its inputs and a block's weights.
  struct Place {
    const int8_t* x;
    const int32_t* offset;
    const uint8_t* w;
    MultiplierLine line;
    int64_t group = 0;
  };

  static __attribute__((noinline)) void OneRow(const ShapeI4& shape, const int8_t* x, const int32_t* offset,
                                               const uint8_t* w, int32_t* out) {
    Place at = {.x = x, .offset = offset, .w = w, .line = {}};
    __m512i total = _mm512_setzero_si512();
    int64_t k = 0;
    switch (shape.group) {
      case kI4Chunk: k = Quads<1>(shape, &at, &total); break;
      case 2 * kI4Chunk: k = Quads<2>(shape, &at, &total); break;
      case 4 * kI4Chunk: k = Quads<4>(shape, &at, &total); break;
      default: break;
    }
    while (k < shape.k) {
      const __m512i multiplier = Multipliers(at.line.Enter(at.group++, at.w));
      const int64_t end = std::min(shape.k, k + shape.group);
      for (; k < end; k += kI4Chunk) {
        total = AddRowChunk(at.x, at.offset, at.w, multiplier, total);
        at.x += kI4InputBytes;
        at.offset += kI4InputRows;
        at.w += kI4ChunkBytes;
      }
    }
    _mm512_storeu_si512(out, total);
  }

  // Four chunks, of groups of kChunks, in a straight line: what is executed a byte decides how far ahead of memory the
  // core sees (groups of 32: 21 % more bytes a second than in a loop over chunks; eight chunks in a line are slower
  // than the loop). Returns how many inputs it took.
  template <int kChunks>
  static inline __attribute__((always_inline)) int64_t Quads(const ShapeI4& shape, Place* place, __m512i* total) {
    constexpr int kQuad = 4;
    constexpr int kGroups = kQuad / kChunks;
    static_assert(kI4GroupsPerLine % kGroups == 0);  // the groups' multipliers lie in one line
    Place at = *place;
    __m512i even = *total;
    __m512i odd = _mm512_setzero_si512();
    int64_t k = 0;
    for (; k + kQuad * kI4Chunk <= shape.k; k += kQuad * kI4Chunk) {
      const uint8_t* multipliers = at.line.Enter(at.group, at.w);
#pragma GCC unroll 4
      for (int i = 0; i < kQuad; ++i) {
        const __m512i multiplier = Multipliers(multipliers + i / kChunks * kPackRows);
        __m512i& sum = i % 2 == 0 ? even : odd;
        sum = AddRowChunk(at.x + i * kI4InputBytes, at.offset + i * kI4InputRows, at.w + i * kI4ChunkBytes, multiplier,
                          sum);
      }
      at.x += kQuad * kI4InputBytes;
      at.offset += kQuad * kI4InputRows;
      at.w += kQuad * kI4ChunkBytes;
      at.group += kGroups;
    }
    *place = at;
    *total = _mm512_add_epi32(even, odd);
    return k;
  }

  // Upper halves stay where they are, 16 times their weight, until the chunk's sum.
  static inline __attribute__((always_inline)) __m512i AddRowChunk(const int8_t* x, const int32_t* offset,
                                                                   const uint8_t* w, __m512i multiplier,
                                                                   __m512i total) {
    const __m512i lower = _mm512_set1_epi8(15);
    const __m512i upper = _mm512_set1_epi8(static_cast<char>(0xf0));
    __m512i low = _mm512_set1_epi32(*offset);
    __m512i high = _mm512_setzero_si512();
#pragma GCC unroll 4
    for (int64_t step = 0; step < kI4Chunk / kI4Step; ++step) {
      const __m512i weights = _mm512_loadu_si512(w + step * kI4StepBytes);
      const int8_t* inputs = x + step * kI4Step;
      low = _mm512_dpbusd_epi32(low, _mm512_and_si512(weights, lower), Broadcast(inputs));
      high = _mm512_dpbusd_epi32(high, _mm512_and_si512(weights, upper), Broadcast(inputs + 4));
    }
    return _mm512_dpwssd_epi32(total, _mm512_add_epi32(low, _mm512_srai_epi32(high, 4)), multiplier);
  }
};

}  // namespace

const GemmI4 kAvx512VnniGemmI4 = {
    .isa = "avx512",
    .supported = [] { return kAvx512VnniGemmS8.supported(); },
    .packed = RunPackedTiles<PackedTile>,
};

}  // namespace phidias::cpu
