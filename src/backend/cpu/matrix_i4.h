#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "backend/cpu/gemm_i4.h"
#include "backend/cpu/matrix_s8.h"
#include "backend/cpu/weight_memory.h"
#include "backend/weights.h"
#include "common/status.h"
#include "common/thread_pool.h"

namespace phidias::cpu {

// A matrix of 4-bit weights as the products read it: packed in memory of our own, or row by row where the checkpoint
// has it. Then groups of columns are packed on the way, whatever the number of rows of x: a word moves as it is, which
// costs less than unpacking it.
class MatrixI4 {
 public:
  MatrixI4() = default;

  // `weight` (kI4) stays where it is and must outlive this.
  static MatrixI4 InPlace(const WeightMatrix& weight, const WeightQuant& quant, const GemmI4& gemm, ThreadPool& pool);
  // A packed copy in `memory`. `weight` isn't read again.
  static Result<MatrixI4> Copy(const WeightMatrix& weight, const WeightQuant& quant, const GemmI4& gemm,
                               ThreadPool& pool, WeightMemory& memory);

  int64_t n() const { return n_; }
  const ShapeI4& shape() const { return shape_; }
  // [n] sum_g multiplier * sum_{k in g} q: products with an x of 1.
  const std::vector<int32_t>& row_sum() const { return row_sum_; }

  // For columns [n_begin, n_end), n_begin a multiple of kPackRows, and m rows of x: post(row of x, first column,
  // columns, sums).
  template <class Post>
  void ForProducts(const GemmI4& gemm, const InputsI4& x, int64_t m, int64_t n_begin, int64_t n_end,
                   GemmScratch& scratch, Post post) const {
    for (int64_t n = n_begin; n < n_end; n += kGroupColumns) {
      const uint8_t* packed = Group(n, scratch.packed);
      const int64_t columns = kGroupColumns < n_end - n ? kGroupColumns : n_end - n;
      const auto multiply = [&](int64_t m0, int64_t rows, int32_t* acc) {
        Multiply(gemm, packed, columns, x, m0, rows, acc);
      };
      ForRowBlocks(m, n, columns, scratch.acc, multiply, post);
    }
  }

 private:
  MatrixI4(int64_t n, const ShapeI4& shape) : n_(n), shape_(shape), row_sum_(static_cast<size_t>(n)) {}

  // Columns [n_begin, n_begin + kGroupColumns), as far as there are any, packed; valid until `scratch` is used again.
  const uint8_t* Group(int64_t n_begin, std::vector<uint8_t>& scratch) const;
  void Multiply(const GemmI4& gemm, const uint8_t* packed, int64_t columns, const InputsI4& x, int64_t m0, int64_t rows,
                int32_t* acc) const;
  void MakeRowSums(const GemmI4& gemm, ThreadPool& pool);
  uint8_t* Block(uint8_t* blocks, int64_t n_begin) const { return blocks + n_begin / kPackRows * shape_.block_bytes(); }

  int64_t n_ = 0;
  ShapeI4 shape_;
  const std::byte* rows_ = nullptr;   // row by row, or null
  uint8_t* packed_ = nullptr;         // or null
  std::vector<uint8_t> multipliers_;  // packed, for `rows_`
  std::vector<int32_t> row_sum_;
};

}  // namespace phidias::cpu
