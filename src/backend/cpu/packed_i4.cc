#include "backend/cpu/packed_i4.h"

#include <algorithm>
#include <cstring>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace phidias::cpu {
namespace {

constexpr int64_t kWordBytes = 4;        // a step of one row
constexpr uint32_t kFlip = 0xffffffffU;  // 15 - (q + 8) = 7 - q in each half byte

void PackWord(const std::byte* word, uint8_t* out) {
  uint32_t bits = 0;
  std::memcpy(&bits, word, sizeof bits);
  bits ^= kFlip;
  std::memcpy(out, &bits, sizeof bits);
}

#if defined(__SSE2__)
// 4 rows x 4 words: transposed. `out` takes 16 bytes for each of 4 steps.
void PackFourRows(const std::byte* rows, int64_t row_bytes, uint8_t* out) {
  const __m128i flip = _mm_set1_epi32(static_cast<int32_t>(kFlip));
  __m128i r[4];
  for (int64_t i = 0; i < 4; ++i) {
    r[i] = _mm_xor_si128(_mm_loadu_si128(reinterpret_cast<const __m128i*>(rows + i * row_bytes)), flip);
  }
  const __m128i ab_low = _mm_unpacklo_epi32(r[0], r[1]);
  const __m128i cd_low = _mm_unpacklo_epi32(r[2], r[3]);
  const __m128i ab_high = _mm_unpackhi_epi32(r[0], r[1]);
  const __m128i cd_high = _mm_unpackhi_epi32(r[2], r[3]);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm_unpacklo_epi64(ab_low, cd_low));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out + kI4StepBytes), _mm_unpackhi_epi64(ab_low, cd_low));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out + 2 * kI4StepBytes), _mm_unpacklo_epi64(ab_high, cd_high));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out + 3 * kI4StepBytes), _mm_unpackhi_epi64(ab_high, cd_high));
}

void PackFullChunk(const std::byte* rows, int64_t row_bytes, uint8_t* out) {
  for (int64_t row = 0; row < kPackRows; row += 4) {
    PackFourRows(rows + row * row_bytes, row_bytes, out + row * kWordBytes);
  }
}
#else
void PackFullChunk(const std::byte* rows, int64_t row_bytes, uint8_t* out) {
  for (int64_t step = 0; step < kI4Chunk / kI4Step; ++step) {
    for (int64_t row = 0; row < kPackRows; ++row) {
      PackWord(rows + row * row_bytes + step * kWordBytes, out + step * kI4StepBytes + row * kWordBytes);
    }
  }
}
#endif

// One chunk of a block: `words` of the file's words in each of `n` rows.
void PackChunk(const std::byte* rows, int64_t row_bytes, int64_t n, int64_t words, uint8_t* out) {
  if (n == kPackRows && words == kI4Chunk / kI4Step) {
    PackFullChunk(rows, row_bytes, out);
    return;
  }
  std::memset(out, 0, static_cast<size_t>(kI4ChunkBytes));
  for (int64_t step = 0; step < words; ++step) {
    for (int64_t row = 0; row < n; ++row) {
      PackWord(rows + row * row_bytes + step * kWordBytes, out + step * kI4StepBytes + row * kWordBytes);
    }
  }
}

void PackBlock(const ShapeI4& shape, const std::byte* rows, const uint8_t* multipliers, int64_t n, uint8_t* out) {
  const int64_t row_bytes = shape.row_bytes();
  constexpr int64_t kChunkRowBytes = kI4Chunk / 2;
  for (int64_t group = 0; group < shape.groups(); ++group) {
    if (group % kI4GroupsPerLine == 0) {
      const int64_t groups = std::min(kI4GroupsPerLine, shape.groups() - group);
      std::memset(out, 0, static_cast<size_t>(kI4LineBytes));
      std::memcpy(out, multipliers + group * kPackRows, static_cast<size_t>(groups * kPackRows));
      out += kI4LineBytes;
    }
    const int64_t end = std::min((group + 1) * shape.group / 2, row_bytes);
    for (int64_t at = group * shape.group / 2; at < end; at += kChunkRowBytes) {
      PackChunk(rows + at, row_bytes, n, std::min(kChunkRowBytes, end - at) / kWordBytes, out);
      out += kI4ChunkBytes;
    }
  }
}

#if defined(__SSE2__)
// One chunk with its steps reordered; returns its sum.
int32_t PrepareChunk(const int8_t* x, int8_t* out) {
  const __m128i a = _mm_loadu_si128(reinterpret_cast<const __m128i*>(x));
  const __m128i b = _mm_loadu_si128(reinterpret_cast<const __m128i*>(x + 16));
  const __m128i low = _mm_set1_epi16(0xff);
  const __m128i even = _mm_packus_epi16(_mm_and_si128(a, low), _mm_and_si128(b, low));
  const __m128i odd = _mm_packus_epi16(_mm_srli_epi16(a, 8), _mm_srli_epi16(b, 8));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm_unpacklo_epi32(even, odd));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out + 16), _mm_unpackhi_epi32(even, odd));
  // As unsigned bytes, 128 more each, which psadbw adds.
  const __m128i flip = _mm_set1_epi8(static_cast<char>(0x80));
  const __m128i zero = _mm_setzero_si128();
  const __m128i sums =
      _mm_add_epi64(_mm_sad_epu8(_mm_xor_si128(a, flip), zero), _mm_sad_epu8(_mm_xor_si128(b, flip), zero));
  return _mm_cvtsi128_si32(_mm_add_epi64(sums, _mm_unpackhi_epi64(sums, sums))) - 128 * static_cast<int32_t>(kI4Chunk);
}
#else
int32_t PrepareChunk(const int8_t* x, int8_t* out) {
  int32_t sum = 0;
  for (int64_t i = 0; i < kI4Chunk; ++i) {
    sum += x[i];
    out[i / kI4Step * kI4Step + i % 2 * 4 + i % kI4Step / 2] = x[i];
  }
  return sum;
}
#endif

}  // namespace

void PackMultipliers(const uint8_t* multiplier, int64_t n, int64_t groups, uint8_t* packed) {
  for (int64_t row = 0; row < n; ++row) {
    uint8_t* block = packed + row / kPackRows * kPackRows * groups + row % kPackRows;
    for (int64_t group = 0; group < groups; ++group) {
      block[group * kPackRows] = multiplier[row * groups + group];
    }
  }
}

void PackI4(const ShapeI4& shape, const std::byte* rows, const uint8_t* multipliers, int64_t n, uint8_t* packed) {
  for (int64_t row = 0; row < n; row += kPackRows) {
    PackBlock(shape, rows + row * shape.row_bytes(), multipliers + row * shape.groups(), std::min(kPackRows, n - row),
              packed + row / kPackRows * shape.block_bytes());
  }
}

void InputsI4::Resize(const ShapeI4& shape, int64_t rows) {
  const int64_t whole = (rows + kI4InputRows - 1) / kI4InputRows * kI4InputRows;
  q.resize(static_cast<size_t>(InputAt(shape, whole)));
  offset.resize(static_cast<size_t>(OffsetAt(shape, whole)));
}

void InputsI4::Fill(const ShapeI4& shape, const int8_t* x, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    int8_t* to = q.data() + InputAt(shape, row);
    int32_t* offsets = offset.data() + OffsetAt(shape, row);
    for (int64_t at = 0; at < shape.k; at += kI4Chunk) {
      int8_t last[kI4Chunk] = {};
      const int8_t* chunk = x + row * shape.k + at;
      if (at + kI4Chunk > shape.k) {
        std::copy_n(chunk, shape.k - at, last);
        chunk = last;
      }
      *offsets = -kI4StoredOffset * PrepareChunk(chunk, to);
      to += kI4InputBytes;
      offsets += kI4InputRows;
    }
  }
}

}  // namespace phidias::cpu
