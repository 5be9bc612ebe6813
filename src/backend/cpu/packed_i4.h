#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "backend/cpu/packed_s8.h"

namespace phidias::cpu {

// Packed 4-bit weights: blocks of kPackRows rows (and so the columns of a product), in a block for every
// kI4GroupsPerLine groups of inputs a line with their multipliers, 16 each, and then, for every kI4Step inputs, a line
// [16 rows][4]. The lower halves of a row's four bytes are inputs 0, 2, 4, 6 of the step, the upper ones 1, 3, 5, 7: so
// a word of the file moves as it is. Stored is 7 - q: with x the sum over kI4Chunk inputs of (7 - q) x, less 7 sum x,
// is -sum q x, which fits 16 bits (-32768..32512), so one vpdpwssd or vpmaddwd multiplies it with its multiplier. All
// in whole cache lines, one stream: loads that cross a line's end take twice as long.
//
// The last group of a row may be shorter. Chunks are whole: inputs beyond k meet an x of 0. Rows beyond n are zeros,
// whose results nobody reads.
inline constexpr int64_t kI4Step = 8;
inline constexpr int64_t kI4StepBytes = kPackRows * kI4Step / 2;
inline constexpr int64_t kI4Chunk = 32;
inline constexpr int64_t kI4ChunkBytes = kPackRows * kI4Chunk / 2;
inline constexpr int64_t kI4GroupsPerLine = 4;
inline constexpr int64_t kI4LineBytes = kI4GroupsPerLine * kPackRows;
inline constexpr int32_t kI4StoredOffset = 7;

// A row of 4-bit weights: `group`, a multiple of kI4Chunk, inputs share a multiplier.
struct ShapeI4 {
  int64_t k = 0;
  int64_t group = 0;

  constexpr int64_t groups() const { return (k + group - 1) / group; }
  constexpr int64_t chunks() const { return (k + kI4Chunk - 1) / kI4Chunk; }
  int64_t row_bytes() const { return (k + 7) / 8 * 4; }  // of the file: DTypeBytes(DType::kI4, k)
  int64_t block_bytes() const {
    return (groups() + kI4GroupsPerLine - 1) / kI4GroupsPerLine * kI4LineBytes + chunks() * kI4ChunkBytes;
  }
};

// Finds a group's multipliers on the way through a block.
class MultiplierLine {
 public:
  // `w` stands where the group before ended, or at the block's begin, and moves to this one's first chunk.
  const uint8_t* Enter(int64_t group, const uint8_t*& w) {
    if (group % kI4GroupsPerLine == 0) {
      line_ = w;
      w += kI4LineBytes;
    }
    return line_ + group % kI4GroupsPerLine * kPackRows;
  }

 private:
  const uint8_t* line_ = nullptr;
};

// Multipliers [n, groups] as [blocks of kPackRows rows][groups][kPackRows].
void PackMultipliers(const uint8_t* multiplier, int64_t n, int64_t groups, uint8_t* packed);

// Packs n rows of the file (any address) to whole blocks. `multipliers` are those of the first block on, packed.
void PackI4(const ShapeI4& shape, const std::byte* rows, const uint8_t* multipliers, int64_t n, uint8_t* packed);

// Rows of int8 as the products with packed 4-bit weights read them: kI4InputRows rows together, whose places in a chunk
// are then constants.
inline constexpr int64_t kI4InputRows = 4;
inline constexpr int64_t kI4InputBytes = kI4InputRows * kI4Chunk;
struct InputsI4 {
  // [rows / kI4InputRows][chunks()][kI4InputRows][kI4Chunk], each step as 0, 2, 4, 6, 1, 3, 5, 7; zeros beyond k.
  std::vector<int8_t> q;
  std::vector<int32_t> offset;  // [rows / kI4InputRows][chunks()][kI4InputRows] -7 * sum of the chunk

  void Resize(const ShapeI4& shape, int64_t rows);
  // Rows [begin, end) of x [rows, k].
  void Fill(const ShapeI4& shape, const int8_t* x, int64_t begin, int64_t end);
};

// Where the first chunk of a row lies in InputsI4::q and ::offset.
constexpr int64_t InputAt(const ShapeI4& shape, int64_t row) {
  return row / kI4InputRows * shape.chunks() * kI4InputBytes + row % kI4InputRows * kI4Chunk;
}
constexpr int64_t OffsetAt(const ShapeI4& shape, int64_t row) {
  return row / kI4InputRows * shape.chunks() * kI4InputRows + row % kI4InputRows;
}

}  // namespace phidias::cpu
