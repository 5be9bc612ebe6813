// AVX2 with packed 4-bit weights (packed_i4.h): vpmaddubsw doesn't saturate with 0..15 (two products are at most 3840),
// and a chunk's eight of them stay within 16 bits. The sums of two times two inputs of a column are neighbours, so
// vpmaddwd multiplies both with the multiplier and adds them. The first begins at -7 sum x, which also stays within 16
// bits once the chunk is complete (+-30608); on the way it may wrap, which does no harm.
#include <immintrin.h>

#include "backend/cpu/gemm_i4_tiles.h"
#include "backend/cpu/gemm_s8.h"

namespace phidias::cpu {
namespace {

struct Chunk {
  static constexpr int kTileM = 4;
  static constexpr int kTileBlocks = 1;

  // -multiplier in both halves of each lane.
  static inline __attribute__((always_inline)) __m256i Multipliers(const uint8_t* at) {
    const __m256i wide = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(at)));
    return _mm256_sub_epi16(_mm256_setzero_si256(), _mm256_or_si256(wide, _mm256_slli_epi32(wide, 16)));
  }

  static inline __attribute__((always_inline)) __m256i Start(int32_t offset) {
    return _mm256_set1_epi32(offset & 0xffff);
  }

  static inline __attribute__((always_inline)) __m256i Broadcast(const int8_t* x) {
    return _mm256_set1_epi32(FourInputs(x));
  }

  static inline __attribute__((always_inline)) __m256i Load(const uint8_t* at) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
  }

  static inline __attribute__((always_inline)) void AddProduct(int32_t* total, __m256i sums, __m256i multiplier) {
    auto* at = reinterpret_cast<__m256i*>(total);
    _mm256_store_si256(at, _mm256_add_epi32(_mm256_load_si256(at), _mm256_madd_epi16(sums, multiplier)));
  }

  template <int kM, int kBlocks>
  static __attribute__((noinline)) void Add(const PlaceI4& at, int32_t* total) {
    const uint8_t* w = at.w;
    const int8_t* x = at.x;
    const __m256i lower = _mm256_set1_epi8(15);
    __m256i first[kM];
    __m256i second[kM];
#pragma GCC unroll 8
    for (int m = 0; m < kM; ++m) {
      first[m] = second[m] = Start(at.offset[m]);
    }
#pragma GCC unroll 4
    for (int64_t step = 0; step < kI4Chunk / kI4Step; ++step) {
#pragma GCC unroll 2
      for (int half = 0; half < 2; ++half) {
        const __m256i a = Load(w + step * kI4StepBytes);
        const __m256i b = Load(w + step * kI4StepBytes + 32);
        const __m256i weights_a = _mm256_and_si256(half == 0 ? a : _mm256_srli_epi16(a, 4), lower);
        const __m256i weights_b = _mm256_and_si256(half == 0 ? b : _mm256_srli_epi16(b, 4), lower);
#pragma GCC unroll 8
        for (int m = 0; m < kM; ++m) {
          const __m256i row = Broadcast(x + m * kI4Chunk + step * kI4Step + 4 * half);
          first[m] = _mm256_add_epi16(first[m], _mm256_maddubs_epi16(weights_a, row));
          second[m] = _mm256_add_epi16(second[m], _mm256_maddubs_epi16(weights_b, row));
        }
      }
    }
    const __m256i multiplier_a = Multipliers(at.multipliers);
    const __m256i multiplier_b = Multipliers(at.multipliers + 8);
#pragma GCC unroll 8
    for (int m = 0; m < kM; ++m) {
      AddProduct(total + m * kPackRows, first[m], multiplier_a);
      AddProduct(total + m * kPackRows + 8, second[m], multiplier_b);
    }
  }

  // Eight columns, whose weights begin at `w`.
  static inline __attribute__((always_inline)) __m256i OneChunk(const uint8_t* w, const int8_t* x, int32_t offset) {
    const __m256i lower = _mm256_set1_epi8(15);
    __m256i low = Start(offset);
    __m256i high = _mm256_setzero_si256();
#pragma GCC unroll 4
    for (int64_t step = 0; step < kI4Chunk / kI4Step; ++step) {
      const __m256i both = Load(w + step * kI4StepBytes);
      const int8_t* inputs = x + step * kI4Step;
      low = _mm256_add_epi16(low, _mm256_maddubs_epi16(_mm256_and_si256(both, lower), Broadcast(inputs)));
      high = _mm256_add_epi16(
          high, _mm256_maddubs_epi16(_mm256_and_si256(_mm256_srli_epi16(both, 4), lower), Broadcast(inputs + 4)));
    }
    return _mm256_add_epi16(low, high);
  }

  static __attribute__((noinline)) void OneRow(const ShapeI4& shape, const PlaceI4& at, int32_t* out) {
    const int8_t* x = at.x;
    const int32_t* offset = at.offset;
    const uint8_t* w = at.w;
    __m256i first = _mm256_setzero_si256();
    __m256i second = _mm256_setzero_si256();
    MultiplierLine line;
    int64_t k = 0;
    for (int64_t group = 0; k < shape.k; ++group) {
      const uint8_t* multipliers = line.Enter(group, w);
      const __m256i multiplier_a = Multipliers(multipliers);
      const __m256i multiplier_b = Multipliers(multipliers + 8);
      const int64_t end = std::min(shape.k, k + shape.group);
      for (; k < end; k += kI4Chunk) {
        first = _mm256_add_epi32(first, _mm256_madd_epi16(OneChunk(w, x, *offset), multiplier_a));
        second = _mm256_add_epi32(second, _mm256_madd_epi16(OneChunk(w + 32, x, *offset), multiplier_b));
        x += kI4InputBytes;
        offset += kI4InputRows;
        w += kI4ChunkBytes;
      }
    }
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), first);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + 8), second);
  }
};

}  // namespace

const GemmI4 kAvx2GemmI4 = {
    .isa = "avx2",
    .supported = [] { return kAvx2GemmS8.supported(); },
    .packed = RunPackedTiles<TileI4<Chunk>>,
};

}  // namespace phidias::cpu
