#include "backend/cpu/packed_s8.h"

#include <algorithm>
#include <cstring>

#include "ref/linear_s8.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace phidias::cpu {
namespace {

constexpr uint8_t kOffset = 128;

// One group of 4 inputs for one row; inputs beyond k become 0.
void PackOne(const int8_t* row, int64_t at, int64_t k, uint8_t* out) {
  for (int64_t j = 0; j < kPackInputs; ++j) {
    out[j] = at + j < k ? static_cast<uint8_t>(static_cast<uint8_t>(row[at + j]) + kOffset) : uint8_t{0};
  }
}

#if defined(__SSE2__)
// 4 rows x 16 inputs: a 4 x 4 transposition of 32-bit groups. `out` takes 16 bytes for each of 4 groups.
void PackFourRows(const int8_t* rows, int64_t k, uint8_t* out) {
  const __m128i flip = _mm_set1_epi8(static_cast<char>(kOffset));
  __m128i r[4];
  for (int64_t i = 0; i < 4; ++i) {
    r[i] = _mm_xor_si128(_mm_loadu_si128(reinterpret_cast<const __m128i*>(rows + i * k)), flip);
  }
  const __m128i ab_low = _mm_unpacklo_epi32(r[0], r[1]);
  const __m128i cd_low = _mm_unpacklo_epi32(r[2], r[3]);
  const __m128i ab_high = _mm_unpackhi_epi32(r[0], r[1]);
  const __m128i cd_high = _mm_unpackhi_epi32(r[2], r[3]);
  constexpr int64_t kGroup = kPackRows * kPackInputs;
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm_unpacklo_epi64(ab_low, cd_low));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out + kGroup), _mm_unpackhi_epi64(ab_low, cd_low));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out + 2 * kGroup), _mm_unpacklo_epi64(ab_high, cd_high));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out + 3 * kGroup), _mm_unpackhi_epi64(ab_high, cd_high));
}

// The inputs of a full block that go 16 at a time; returns how many.
int64_t PackBulk(const int8_t* weight, int64_t k, uint8_t* block) {
  constexpr int64_t kStep = 16;
  const int64_t bulk = k / kStep * kStep;
  for (int64_t at = 0; at < bulk; at += kStep) {
    for (int64_t row = 0; row < kPackRows; row += 4) {
      PackFourRows(weight + row * k + at, k, block + at * kPackRows + row * kPackInputs);
    }
  }
  return bulk;
}
#else
int64_t PackBulk(const int8_t* /*weight*/, int64_t /*k*/, uint8_t* /*block*/) {
  return 0;
}
#endif

void PackBlock(const int8_t* weight, int64_t rows, int64_t k, uint8_t* block) {
  int64_t at = 0;
  if (rows == kPackRows) {
    at = PackBulk(weight, k, block);
  } else {
    std::memset(block, 0, static_cast<size_t>(PackedBlockBytes(k)));
  }
  for (; at < k; at += kPackInputs) {
    for (int64_t row = 0; row < rows; ++row) {
      PackOne(weight + row * k, at, k, block + at * kPackRows + row * kPackInputs);
    }
  }
}

}  // namespace

void PackS8(const int8_t* weight, int64_t n, int64_t k, uint8_t* packed) {
  for (int64_t row = 0; row < n; row += kPackRows) {
    PackBlock(weight + row * k, std::min(kPackRows, n - row), k, packed + row * PackedInputs(k));
  }
}

void RowSumsS8(const int8_t* weight, int64_t n, int64_t k, int32_t* sums) {
  for (int64_t row = 0; row < n; ++row) {
    sums[row] = ref::SumS8(weight + row * k, k);
  }
}

}  // namespace phidias::cpu
