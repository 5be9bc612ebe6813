// The products with packed 4-bit weights on vectors of 256 bits. Included by files of one instruction set each, which
// pass the steps in which they differ; a block of 16 columns is two vectors:
//
//   struct Steps {
//     static __m256i Multipliers(const uint8_t* at);   // eight columns', negated, as AddScaled takes them
//     static __m256i Start(int32_t offset);            // where the sums of a chunk begin
//     static __m256i Dot(__m256i sums, __m256i w, __m256i x);  // + the products of 4 inputs of eight columns; w 0..15
//     static __m256i AddScaled(__m256i total, __m256i sums, __m256i multiplier);
//     // One row of x with eight columns, whose weights begin at `w`: the sums of a chunk.
//     static __m256i OneChunk(const uint8_t* w, const int8_t* x, int32_t offset);
//   };
#pragma once

#include <immintrin.h>

#include "backend/cpu/gemm_i4_tiles.h"

namespace phidias::cpu {
namespace {

inline __attribute__((always_inline)) __m256i Broadcast(const int8_t* x) {
  return _mm256_set1_epi32(FourInputs(x));
}

inline __attribute__((always_inline)) __m256i Load(const uint8_t* at) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
}

template <class Steps>
struct Chunk256 {
  static constexpr int kTileM = 4;
  static constexpr int kTileBlocks = 1;

  static inline __attribute__((always_inline)) void AddProduct(int32_t* total, __m256i sums, __m256i multiplier) {
    auto* at = reinterpret_cast<__m256i*>(total);
    _mm256_store_si256(at, Steps::AddScaled(_mm256_load_si256(at), sums, multiplier));
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
      first[m] = second[m] = Steps::Start(at.offset[m]);
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
          first[m] = Steps::Dot(first[m], weights_a, row);
          second[m] = Steps::Dot(second[m], weights_b, row);
        }
      }
    }
    const __m256i multiplier_a = Steps::Multipliers(at.multipliers);
    const __m256i multiplier_b = Steps::Multipliers(at.multipliers + 8);
#pragma GCC unroll 8
    for (int m = 0; m < kM; ++m) {
      AddProduct(total + m * kPackRows, first[m], multiplier_a);
      AddProduct(total + m * kPackRows + 8, second[m], multiplier_b);
    }
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
      const __m256i multiplier_a = Steps::Multipliers(multipliers);
      const __m256i multiplier_b = Steps::Multipliers(multipliers + 8);
      const int64_t end = std::min(shape.k, k + shape.group);
      for (; k < end; k += kI4Chunk) {
        first = Steps::AddScaled(first, Steps::OneChunk(w, x, *offset), multiplier_a);
        second = Steps::AddScaled(second, Steps::OneChunk(w + 32, x, *offset), multiplier_b);
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
}  // namespace phidias::cpu
