#pragma once

#include <cstdint>

namespace phidias::cpu {

// Packed int8 weights: blocks of 16 rows, in a block for every 4 inputs one 64-byte group [16 rows][4 inputs], so that
// a product reads one stream, and one vector holds 16 outputs that need no sum across lanes. Bytes are stored as q +
// 128 (unsigned), what vpdpbusd takes: the product subtracts 128 * sum_k x, once per row of x. Inputs beyond k are
// stored as 0, which adds nothing whatever x holds there; so are rows beyond n, whose results nobody reads.
inline constexpr int64_t kPackRows = 16;
inline constexpr int64_t kPackInputs = 4;

// Blocks that one register tile takes together: 3 x 16 columns beside 8 rows of x are 24 accumulators of AVX-512's 32
// registers (8 x 3 measured at 93 % of the peak, 12 x 2 at 85 %).
inline constexpr int64_t kGroupBlocks = 3;
inline constexpr int64_t kGroupColumns = kGroupBlocks * kPackRows;

constexpr int64_t PackedInputs(int64_t k) {
  return (k + kPackInputs - 1) / kPackInputs * kPackInputs;
}
constexpr int64_t PackedBlockBytes(int64_t k) {
  return kPackRows * PackedInputs(k);
}
constexpr int64_t PackedBytes(int64_t n, int64_t k) {
  return (n + kPackRows - 1) / kPackRows * PackedBlockBytes(k);
}

// Packs rows [0, n) of `weight` (k bytes apart, any address) to PackedBytes(n, k) bytes.
void PackS8(const int8_t* weight, int64_t n, int64_t k, uint8_t* packed);

// sum_k of each of the n rows.
void RowSumsS8(const int8_t* weight, int64_t n, int64_t k, int32_t* sums);

}  // namespace phidias::cpu
