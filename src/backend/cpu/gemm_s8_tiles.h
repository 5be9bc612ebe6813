// How the int8 products of every instruction set go over a matrix: by register tiles of kTileM x kTileN outputs, the
// rest singly. Included by gemm_s8_ISA.cc files, each of which passes a Tile of its own:
//
//   struct Tile {
//     static constexpr int kTileM, kTileN;
//     template <int kM, int kN>
//     static void Run(const GemmS8Args& args, int64_t m0, int64_t n0, int64_t n_begin);  // writes kM x kN sums
//   };
#pragma once

#include "backend/cpu/gemm_s8.h"

namespace phidias::cpu {
namespace {

template <class Tile, int kN>
void RunColumns(const GemmS8Args& args, int64_t n, int64_t n_begin) {
  int64_t m = 0;
  for (; m + Tile::kTileM <= args.m; m += Tile::kTileM) {
    Tile::template Run<Tile::kTileM, kN>(args, m, n, n_begin);
  }
  for (; m < args.m; ++m) {
    Tile::template Run<1, kN>(args, m, n, n_begin);
  }
}

template <class Tile>
void RunTiles(const GemmS8Args& args, int64_t n_begin, int64_t n_end) {
  int64_t n = n_begin;
  for (; n + Tile::kTileN <= n_end; n += Tile::kTileN) {
    RunColumns<Tile, Tile::kTileN>(args, n, n_begin);
  }
  for (; n < n_end; ++n) {
    RunColumns<Tile, 1>(args, n, n_begin);
  }
}

}  // namespace
}  // namespace phidias::cpu
