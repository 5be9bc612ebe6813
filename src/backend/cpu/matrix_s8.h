#pragma once

#include <cstdint>
#include <vector>

#include "backend/cpu/gemm_s8.h"
#include "backend/cpu/packed_s8.h"
#include "backend/cpu/weight_memory.h"
#include "common/status.h"
#include "common/thread_pool.h"

namespace phidias::cpu {

// Working space of one thread for products with MatrixS8.
struct GemmScratch {
  std::vector<int32_t> acc;      // [kRowBlock, kGroupColumns]
  std::vector<uint8_t> packed;   // one group of columns
  std::vector<uint8_t> packed2;  // another (two-plane weights)
};

// Rows of x that one product takes at a time: with the sums of one group of columns 12 kB, within the L1 cache.
inline constexpr int64_t kRowBlock = 64;

// For columns [n, n + columns) of a product with m rows of x: multiply(first row, rows, sums) for up to kRowBlock rows
// at a time, then post(row, n, columns, its sums) for each of them. Rows of sums are kGroupColumns apart.
template <class Multiply, class Post>
void ForRowBlocks(int64_t m, int64_t n, int64_t columns, std::vector<int32_t>& acc, Multiply multiply, Post post) {
  acc.resize(static_cast<size_t>(kRowBlock * kGroupColumns));
  for (int64_t m0 = 0; m0 < m; m0 += kRowBlock) {
    const int64_t rows = kRowBlock < m - m0 ? kRowBlock : m - m0;
    multiply(m0, rows, acc.data());
    for (int64_t i = 0; i < rows; ++i) {
      post(m0 + i, n, columns, acc.data() + i * kGroupColumns);
    }
  }
}

// Up to kGroupColumns columns of a MatrixS8, ready for products.
struct GroupS8 {
  const uint8_t* packed = nullptr;  // or null: row by row
  const int8_t* rows = nullptr;
  const int32_t* row_sum = nullptr;
  int64_t columns = 0;
  int64_t k = 0;
};

// acc[m, kGroupColumns] (stride kGroupColumns) = x[m, k] * group^T. x_sum[m] are x's row sums.
void MultiplyS8(const GemmS8& gemm, const GroupS8& group, const int8_t* x, const int32_t* x_sum, int64_t m,
                int32_t* acc);

// An int8 weight matrix [n, k] as the products read it: packed in memory of our own, or row by row where the checkpoint
// has it (groups of columns are then packed on the way when there are enough rows of x to pay for it).
class MatrixS8 {
 public:
  MatrixS8() = default;

  // `rows` stays where it is and must outlive this.
  static MatrixS8 InPlace(const int8_t* rows, int64_t n, int64_t k, ThreadPool& pool);
  // A copy in `memory`, packed if `gemm` takes it so. `rows` isn't read again.
  static Result<MatrixS8> Copy(const int8_t* rows, int64_t n, int64_t k, const GemmS8& gemm, ThreadPool& pool,
                               WeightMemory& memory);

  int64_t n() const { return n_; }
  int64_t k() const { return k_; }
  const std::vector<int32_t>& row_sum() const { return row_sum_; }  // [n] sum_k

  // Columns [n_begin, n_begin + kGroupColumns) as far as there are any; n_begin is a multiple of kPackRows. `m`: how
  // many rows of x will be multiplied with it. The group is valid until `scratch` is used again.
  GroupS8 Group(const GemmS8& gemm, int64_t n_begin, int64_t m, std::vector<uint8_t>& scratch) const;

  // For columns [n_begin, n_end), n_begin a multiple of kPackRows: post(row of x, first column, columns, sums).
  template <class Post>
  void ForProducts(const GemmS8& gemm, const int8_t* x, const int32_t* x_sum, int64_t m, int64_t n_begin, int64_t n_end,
                   GemmScratch& scratch, Post post) const {
    for (int64_t n = n_begin; n < n_end; n += kGroupColumns) {
      GroupS8 group = Group(gemm, n, m, scratch.packed);
      group.columns = group.columns < n_end - n ? group.columns : n_end - n;
      const auto multiply = [&](int64_t m0, int64_t rows, int32_t* acc) {
        MultiplyS8(gemm, group, x + m0 * k_, x_sum + m0, rows, acc);
      };
      ForRowBlocks(m, n, group.columns, scratch.acc, multiply, post);
    }
  }

 private:
  void MakeRowSums(const int8_t* rows, ThreadPool& pool);

  const int8_t* rows_ = nullptr;     // row by row, or null
  const uint8_t* packed_ = nullptr;  // or null
  int64_t n_ = 0;
  int64_t k_ = 0;
  std::vector<int32_t> row_sum_;
};

inline constexpr int64_t kLoadRows = 4 * kGroupColumns;  // of one share when a matrix is packed

}  // namespace phidias::cpu
