// How the products with packed 4-bit weights go over the chunks of a register tile. Included by gemm_i4_ISA.cc files,
// each of which passes what it does with one chunk:
//
//   struct Chunk {
//     static constexpr int kTileM, kTileBlocks; // rows of x, blocks of columns
//     // Adds the products of one chunk to total[kM][kBlocks][kPackRows].
//     template <int kM, int kBlocks>
//     static void Add(const PlaceI4& at, int32_t* total);
//     // One row of x with one block, all chunks: out[kPackRows].
//     static void OneRow(const ShapeI4& shape, const PlaceI4& at, int32_t* out);
//   };
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "backend/cpu/gemm_i4.h"
#include "backend/cpu/packed_tiles.h"

namespace phidias::cpu {
namespace {

// Where the rows of x and the blocks of weights of a tile stand.
struct PlaceI4 {
  const int8_t* x = nullptr;        // kI4Chunk from row to row, kI4InputBytes from chunk to chunk
  const int32_t* offset = nullptr;  // 1 from row to row, kI4InputRows from chunk to chunk
  const uint8_t* w = nullptr;
  const uint8_t* multipliers = nullptr;
  int64_t block_bytes = 0;  // from block to block
};

// A tile of packed_tiles.h. The totals stay in memory: beside the sums of a chunk there are no registers for them, and
// Chunk::Add, a function that isn't inlined, keeps the compiler from mixing the two.
template <class Chunk>
struct TileI4 {
  static constexpr int kTileM = Chunk::kTileM;
  static constexpr int kTileBlocks = Chunk::kTileBlocks;

  template <int kM, int kBlocks>
  static void Run(const PackedGemmI4Args& args, int64_t m0, int64_t block) {
    const ShapeI4& shape = args.shape;
    static_assert(kI4InputRows % kTileM == 0, "a tile's rows lie in one block of rows");
    PlaceI4 at = {.x = args.x + InputAt(shape, m0),
                  .offset = args.offset + OffsetAt(shape, m0),
                  .w = args.packed + block * shape.block_bytes(),
                  .multipliers = nullptr,
                  .block_bytes = shape.block_bytes()};
    int32_t* acc = args.acc + m0 * args.acc_stride + block * kPackRows;
    if constexpr (kM * kBlocks == 1) {
      Chunk::OneRow(shape, at, acc);
      return;
    }
    constexpr int64_t kColumns = kBlocks * kPackRows;
    alignas(64) int32_t total[kM * kColumns] = {};
    MultiplierLine line;
    int64_t k = 0;
    for (int64_t group = 0; k < shape.k; ++group) {
      at.multipliers = line.Enter(group, at.w);
      const int64_t end = std::min(shape.k, k + shape.group);
      for (; k < end; k += kI4Chunk) {
        Chunk::template Add<kM, kBlocks>(at, total);
        at.x += kI4InputBytes;
        at.w += kI4ChunkBytes;
        at.offset += kI4InputRows;
      }
    }
    for (int64_t m = 0; m < kM; ++m) {
      std::memcpy(acc + m * args.acc_stride, total + m * kColumns, kColumns * sizeof(int32_t));
    }
  }
};

}  // namespace
}  // namespace phidias::cpu
