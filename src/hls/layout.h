#pragma once

#include <cstdint>

#include "hls/design.h"

// How data lies in the card's memory: sizes for whoever allocates, and packers for whoever fills. For hosts and tests,
// not for synthesis. All sizes are whole beats of 64 bytes.
namespace phidias {
namespace hls {

constexpr int64_t CeilDiv(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

// A vector of n floats: activations, biases.
constexpr int64_t VectorBytes(int64_t n) {
  return CeilDiv(n, kWordFloats) * kWordBytes;
}

// --- linear_s8 ---

// Row n of the weights is padded with zeros to banks * LinearSliceBytes and cut into `banks` slices; bank b holds slice
// b of row 0, of row 1, and so on.
constexpr int64_t LinearSliceBytes(int64_t k, int banks) {
  return CeilDiv(k, int64_t{kWordBytes} * banks) * kWordBytes;
}
constexpr int64_t LinearBankBytes(int64_t n, int64_t k, int banks) {
  return n * LinearSliceBytes(k, banks);
}
// Slice `bank` of one row of k weights: LinearSliceBytes bytes at `out`.
inline void PackLinearSlice(const int8_t* row, int64_t k, int banks, int bank, int8_t* out) {
  const int64_t slice = LinearSliceBytes(k, banks);
  for (int64_t i = 0; i < slice; ++i) {
    const int64_t at = bank * slice + i;
    out[i] = at < k ? row[at] : static_cast<int8_t>(0);
  }
}

constexpr int64_t LinearConstantsBytes(int64_t n) {
  return CeilDiv(n, kGroupRows) * 3 * kWordBytes;
}
// scale[n], bias[n] (or null: zeros), row_sum[n] to 32-bit words at `out` (LinearConstantsBytes / 4 of them).
inline void PackLinearConstants(const float* scale, const float* bias, const int32_t* row_sum, int64_t n,
                                uint32_t* out) {
  const auto bits = [](float value) {
    uint32_t result = 0;
    __builtin_memcpy(&result, &value, sizeof result);
    return result;
  };
  const int64_t groups = CeilDiv(n, kGroupRows);
  for (int64_t i = 0; i < groups * kGroupRows; ++i) {
    uint32_t* group = out + i / kGroupRows * 3 * kGroupRows + i % kGroupRows;
    group[0] = i < n ? bits(scale[i]) : 0U;
    group[kGroupRows] = i < n && bias != nullptr ? bits(bias[i]) : 0U;
    group[2 * kGroupRows] = i < n ? static_cast<uint32_t>(row_sum[i]) : 0U;
  }
}

// --- lm_head ---

// Groups of 16 rows go to the banks in turn: bank b holds groups b, b + banks, ... Within a group, 16 elements of row
// 0, the same 16 of row 1, ... of row 15, then the next 16 elements of each: a beat is two rows' (16-bit weights) or
// one row's (float). k is padded with zeros to a multiple of 16, rows past n are zeros.
constexpr int64_t LmHeadGroupBytes(int64_t k, int element_bytes) {
  return CeilDiv(k, kWordFloats) * kWordFloats * kGroupRows * element_bytes;
}
constexpr int64_t LmHeadGroups(int64_t n, int banks, int bank) {
  return (CeilDiv(n, kGroupRows) - bank + banks - 1) / banks;
}
constexpr int64_t LmHeadBankBytes(int64_t n, int64_t k, int element_bytes, int banks, int bank) {
  return LmHeadGroups(n, banks, bank) * LmHeadGroupBytes(k, element_bytes);
}
// Rows 16 group ... 16 group + 15 of n rows of k elements, row-major at `weight` (any address): LmHeadGroupBytes bytes
// at `out`.
inline void PackLmHeadGroup(const void* weight, int64_t n, int64_t k, int element_bytes, int64_t group, uint8_t* out) {
  const auto* bytes = static_cast<const uint8_t*>(weight);
  const int64_t chunk_bytes = int64_t{kWordFloats} * element_bytes;
  const int64_t row_bytes = k * element_bytes;
  for (int64_t chunk = 0; chunk < CeilDiv(k, kWordFloats); ++chunk) {
    for (int64_t r = 0; r < kGroupRows; ++r) {
      const int64_t row = group * kGroupRows + r;
      const int64_t left = row < n ? row_bytes - chunk * chunk_bytes : 0;
      const int64_t filled = left < chunk_bytes ? left : chunk_bytes;
      for (int64_t i = 0; i < chunk_bytes; ++i) {
        *out++ = i < filled ? bytes[row * row_bytes + chunk * chunk_bytes + i] : static_cast<uint8_t>(0);
      }
    }
  }
}

// --- layernorm ---

constexpr int64_t NormConstantsBytes(int64_t n) {
  return 2 * VectorBytes(n);
}
// Per 16 elements a beat of weights and a beat of biases; NormConstantsBytes / 4 floats at `out`.
inline void PackNormConstants(const float* weight, const float* bias, int64_t n, float* out) {
  const int64_t padded = CeilDiv(n, kWordFloats) * kWordFloats;
  for (int64_t i = 0; i < padded; ++i) {
    float* pair = out + i / kWordFloats * 2 * kWordFloats + i % kWordFloats;
    pair[0] = i < n ? weight[i] : 0.0F;
    pair[kWordFloats] = i < n ? bias[i] : 0.0F;
  }
}

// --- attention ---

// The rotary table: one row a position, rotary_dim / 2 cosines padded to whole beats, then as many sines.
constexpr int64_t RotaryRowBytes(int64_t rotary_dim) {
  return 2 * VectorBytes(rotary_dim / 2);
}
// One row; cos_row and sin_row have rotary_dim / 2 entries; RotaryRowBytes / 4 floats at `out`.
inline void PackRotaryRow(const float* cos_row, const float* sin_row, int64_t rotary_dim, float* out) {
  const int64_t half = rotary_dim / 2;
  const int64_t padded = VectorBytes(half) / 4;
  for (int64_t i = 0; i < padded; ++i) {
    out[i] = i < half ? cos_row[i] : 0.0F;
    out[padded + i] = i < half ? sin_row[i] : 0.0F;
  }
}

// Keys, or values, of one layer: [n_kv_heads][capacity][head_dim] float. A head's positions lie one after the other, so
// that a head is read in full-length bursts; an append writes n_kv_heads short ones.
constexpr int64_t KvCacheBytes(int64_t n_kv_heads, int64_t head_dim, int64_t capacity) {
  return n_kv_heads * capacity * head_dim * 4;
}

}  // namespace hls
}  // namespace phidias
