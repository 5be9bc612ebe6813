// How the int8 products of every instruction set go over a matrix: by register tiles, what is left over by smaller
// ones (packed weights: packed_tiles.h). Included by gemm_s8_ISA.cc files, each of which passes tiles of its own.
//
//   struct RowTile {                            // weights row by row
//     static constexpr int kTileM, kTileN;      // outputs of one tile
//     template <int kM, int kN>
//     static void Run(const GemmS8Args& args, int64_t m0, int64_t n0, int64_t n_begin);  // writes kM x kN sums
//     static int32_t OneRow(const GemmS8Args& args, int64_t n);  // the first row of x with one row of weights
//   };
#pragma once

#include <cstring>

#include "backend/cpu/gemm_s8.h"
#include "backend/cpu/packed_s8.h"
#include "backend/cpu/packed_tiles.h"

namespace phidias::cpu {
namespace {

// Long rows of weights are read one after the other, as one stream: twice as fast from memory as several side by side.
inline constexpr int64_t kOneStreamInputs = 512;

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
  if (args.m == 1 && args.k >= kOneStreamInputs) {
    for (; n < n_end; ++n) {
      args.acc[n - n_begin] = Tile::OneRow(args, n);
    }
    return;
  }
  for (; n + Tile::kTileN <= n_end; n += Tile::kTileN) {
    RunColumns<Tile, Tile::kTileN>(args, n, n_begin);
  }
  for (; n < n_end; ++n) {
    RunColumns<Tile, 1>(args, n, n_begin);
  }
}

// Adds sum_k (x + x_offset) * w over k >= k_begin to the sums of a row tile: what its vectors left over.
inline void AddLastProducts(const GemmS8Args& args, int64_t m0, int64_t rows, int64_t n0, int64_t columns,
                            int64_t n_begin, int64_t k_begin, int32_t x_offset) {
  for (int64_t m = m0; m < m0 + rows; ++m) {
    for (int64_t n = n0; n < n0 + columns; ++n) {
      int32_t sum = 0;
      for (int64_t k = k_begin; k < args.k; ++k) {
        sum += (args.x[m * args.k + k] + x_offset) * args.weight[n * args.k + k];
      }
      args.acc[m * args.acc_stride + n - n_begin] += sum;
    }
  }
}

// The bytes of x at the end of a row, broadcast as FourInputs are: the packed weights are 0 beyond, but x must not be
// read there.
inline int32_t LastInputs(const int8_t* x, int64_t count) {
  int32_t four = 0;
  std::memcpy(&four, x, static_cast<size_t>(count));
  return four;
}

}  // namespace
}  // namespace phidias::cpu
