// Dot products of bfloat16 with float32 sums (AVX512-BF16): 32 products an instruction. Inputs and weights are rounded
// to bfloat16. One row of x, bound by memory, gains nothing and keeps its precision: fused multiplication and addition.
#include <cpuid.h>
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "backend/cpu/fast_linear.h"
#include "numerics/half.h"

namespace phidias::cpu {
namespace {

constexpr int kTileM = 4;
constexpr int kTileN = 6;
constexpr int64_t kStep = 32;
constexpr int64_t kRowBlock = 64;  // rows of x that are rounded and kept at a time

constexpr int64_t Padded(int64_t k) {
  return (k + kStep - 1) / kStep * kStep;
}

bool HasBf16() {
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  constexpr unsigned kBf16Bit = 1u << 5;
  return __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) != 0 && (eax & kBf16Bit) != 0;
}

// Sixteen weights as float32.
__m512 LoadWeights(const LinearArgs& args, const std::byte* row, int64_t n, int64_t k) {
  switch (args.weight_dtype) {
    case DType::kF16: return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(row + 2 * k)));
    case DType::kI8: {
      const __m512i q = _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(row + k)));
      const int32_t zero = args.weight_zero_point != nullptr ? args.weight_zero_point[n] : 0;
      return _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(q, _mm512_set1_epi32(zero))),
                           _mm512_set1_ps(args.weight_scale[n]));
    }
    case DType::kQ8_0: {
      const std::byte* block = row + k / kQ8BlockElements * kQ8BlockBytes;
      uint16_t scale = 0;
      __builtin_memcpy(&scale, block, sizeof scale);
      const auto* quants = reinterpret_cast<const __m128i*>(block + 2 + k % kQ8BlockElements);
      return _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(quants))),
                           _mm512_set1_ps(numerics::HalfToFloat(scale)));
    }
    default: return _mm512_loadu_ps(row + 4 * k);
  }
}

void StorePair(__m512 low, __m512 high, uint16_t* out) {
  _mm512_storeu_si512(out, (__m512i)_mm512_cvtne2ps_pbh(high, low));
}

// A row as bfloat16, zeros up to Padded(k). `weight` of a row whose length is no multiple of 32 is decoded through a
// buffer by the caller's last step.
void RoundFloats(const float* x, int64_t k, uint16_t* out) {
  for (int64_t i = 0; i < k; i += kStep) {
    const int64_t left = k - i;
    const auto mask = left >= kStep ? ~uint32_t{0} : (uint32_t{1} << left) - 1;
    StorePair(_mm512_maskz_loadu_ps(static_cast<__mmask16>(mask), x + i),
              _mm512_maskz_loadu_ps(static_cast<__mmask16>(mask >> 16), x + i + 16), out + i);
  }
}

void RoundWeights(const LinearArgs& args, int64_t n, uint16_t* out) {
  const std::byte* row = args.weight + n * args.weight_row_bytes;
  const int64_t full = args.k / kStep * kStep;
  if (args.weight_dtype == DType::kBF16) {
    __builtin_memcpy(out, row, static_cast<size_t>(2 * args.k));
    __builtin_memset(out + args.k, 0, static_cast<size_t>(2 * (Padded(args.k) - args.k)));
    return;
  }
  for (int64_t i = 0; i < full; i += kStep) {
    StorePair(LoadWeights(args, row, n, i), LoadWeights(args, row, n, i + 16), out + i);
  }
  if (full == args.k) {
    return;
  }
  // The rest of the row through a buffer; a Q8_0 row has none.
  const int64_t element = DTypeBytes(args.weight_dtype, 1);
  std::byte buffer[kStep * 4] = {};
  __builtin_memcpy(buffer, row + element * full, static_cast<size_t>(element * (args.k - full)));
  StorePair(LoadWeights(args, buffer, n, 0), LoadWeights(args, buffer, n, 16), out + full);
  __builtin_memset(out + args.k, 0, static_cast<size_t>(2 * (Padded(args.k) - args.k)));
}

template <int kM, int kN>
inline __attribute__((always_inline)) void Tile(const LinearArgs& args, const uint16_t* x, const uint16_t* weight,
                                                int64_t m, int64_t n) {
  const int64_t width = Padded(args.k);
  __m512 acc[kM][kN];
#pragma GCC unroll 8
  for (int i = 0; i < kM; ++i) {
#pragma GCC unroll 8
    for (int j = 0; j < kN; ++j) {
      acc[i][j] = _mm512_setzero_ps();
    }
  }
  for (int64_t k = 0; k < width; k += kStep) {
    __m512bh rows[kM];
#pragma GCC unroll 8
    for (int i = 0; i < kM; ++i) {
      rows[i] = (__m512bh)_mm512_loadu_si512(x + i * width + k);
    }
#pragma GCC unroll 8
    for (int j = 0; j < kN; ++j) {
      const auto w = (__m512bh)_mm512_loadu_si512(weight + j * width + k);
#pragma GCC unroll 8
      for (int i = 0; i < kM; ++i) {
        acc[i][j] = _mm512_dpbf16_ps(acc[i][j], rows[i], w);
      }
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kM; ++i) {
#pragma GCC unroll 8
    for (int j = 0; j < kN; ++j) {
      const float bias = args.bias != nullptr ? args.bias[n + j] : 0.0F;
      args.y[(m + i) * args.y_stride + n + j] = _mm512_reduce_add_ps(acc[i][j]) + bias;
    }
  }
}

// kN rounded weight rows against the rounded rows m_begin..m_end of x.
template <int kN>
void Columns(const LinearArgs& args, const uint16_t* x, const uint16_t* weight, int64_t m_begin, int64_t m_end,
             int64_t n) {
  const int64_t width = Padded(args.k);
  int64_t m = m_begin;
  for (; m + kTileM <= m_end; m += kTileM) {
    Tile<kTileM, kN>(args, x + (m - m_begin) * width, weight, m, n);
  }
  for (; m < m_end; ++m) {
    Tile<1, kN>(args, x + (m - m_begin) * width, weight, m, n);
  }
}

void Linear(const LinearArgs& args, int64_t n_begin, int64_t n_end, float* scratch) {
  if (args.m == 1) {
    kAvx512FmaLinear.run(args, n_begin, n_end, scratch);
    return;
  }
  const int64_t width = Padded(args.k);
  auto* x = reinterpret_cast<uint16_t*>(scratch);
  uint16_t* weight = x + kRowBlock * width;
  for (int64_t m = 0; m < args.m; m += kRowBlock) {
    const int64_t m_end = m + kRowBlock < args.m ? m + kRowBlock : args.m;
    for (int64_t i = m; i < m_end; ++i) {
      RoundFloats(args.x + i * args.k, args.k, x + (i - m) * width);
    }
    int64_t n = n_begin;
    for (; n + kTileN <= n_end; n += kTileN) {
      for (int j = 0; j < kTileN; ++j) {
        RoundWeights(args, n + j, weight + j * width);
      }
      Columns<kTileN>(args, x, weight, m, m_end, n);
    }
    for (; n < n_end; ++n) {
      RoundWeights(args, n, weight);
      Columns<1>(args, x, weight, m, m_end, n);
    }
  }
}

int64_t ScratchFloats(int64_t k) {
  const int64_t rounded = (kRowBlock + kTileN) * Padded(k) / 2;
  const int64_t fused = kAvx512FmaLinear.scratch_floats(k);
  return rounded > fused ? rounded : fused;
}

}  // namespace

const FastLinear kAvx512Bf16Linear = {.name = "bf16",
                                      .isa = "avx512",
                                      .supported = [] { return kAvx512Kernels.supported() && HasBf16(); },
                                      .block = kTileN,
                                      .scratch_floats = ScratchFloats,
                                      .run = Linear};

}  // namespace phidias::cpu
