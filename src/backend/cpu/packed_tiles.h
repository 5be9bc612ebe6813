// How the products with packed weights of every instruction set go over a matrix: by register tiles, what is left over
// by smaller ones. Included by gemm_*_ISA.cc files, each of which passes a tile of its own; Args is PackedGemmS8Args or
// PackedGemmI4Args.
//
//   struct PackedTile {
//     static constexpr int kTileM, kTileBlocks; // rows of x, blocks of columns
//     template <int kM, int kBlocks>
//     static void Run(const Args& args, int64_t m0, int64_t block);
//   };
#pragma once

#include <cstdint>
#include <cstring>

namespace phidias::cpu {
namespace {

// The rows that are left after whole tiles: 1 to kM of them, in one tile of that height.
template <class Tile, int kBlocks, int kM, class Args>
void RunLastRows(const Args& args, int64_t m, int64_t block) {
  if constexpr (kM > 0) {
    if (args.m - m == kM) {
      Tile::template Run<kM, kBlocks>(args, m, block);
    } else {
      RunLastRows<Tile, kBlocks, kM - 1>(args, m, block);
    }
  }
}

template <class Tile, int kBlocks, class Args>
void RunPackedBlocks(const Args& args, int64_t block) {
  int64_t m = 0;
  for (; m + Tile::kTileM <= args.m; m += Tile::kTileM) {
    Tile::template Run<Tile::kTileM, kBlocks>(args, m, block);
  }
  RunLastRows<Tile, kBlocks, Tile::kTileM - 1>(args, m, block);
}

template <class Tile, class Args>
void RunPackedTiles(const Args& args) {
  int64_t block = 0;
  if (args.m > 1) {  // one row reads one stream: no block waits for another
    for (; block + Tile::kTileBlocks <= args.blocks; block += Tile::kTileBlocks) {
      RunPackedBlocks<Tile, Tile::kTileBlocks>(args, block);
    }
  }
  for (; block < args.blocks; ++block) {
    RunPackedBlocks<Tile, 1>(args, block);
  }
}

// Four bytes of x as the products broadcast them.
inline int32_t FourInputs(const int8_t* x) {
  int32_t four = 0;
  std::memcpy(&four, x, sizeof four);
  return four;
}

}  // namespace
}  // namespace phidias::cpu
