#include "backend/cpu/matrix_i4.h"

#include <algorithm>

namespace phidias::cpu {
namespace {

int64_t Blocks(int64_t rows) {
  return (rows + kPackRows - 1) / kPackRows;
}

}  // namespace

const uint8_t* MatrixI4::Group(int64_t n_begin, std::vector<uint8_t>& scratch) const {
  if (packed_ != nullptr) {
    return Block(packed_, n_begin);
  }
  scratch.resize(static_cast<size_t>(kGroupBlocks * shape_.block_bytes() + kI4LineBytes));
  const auto begin = reinterpret_cast<uintptr_t>(scratch.data());
  uint8_t* packed = scratch.data() + (kI4LineBytes - begin % kI4LineBytes) % kI4LineBytes;
  PackI4(shape_, rows_ + n_begin * shape_.row_bytes(), multipliers_.data() + n_begin * shape_.groups(),
         std::min(kGroupColumns, n_ - n_begin), packed);
  return packed;
}

void MatrixI4::Multiply(const GemmI4& gemm, const uint8_t* packed, int64_t columns, const InputsI4& x, int64_t m0,
                        int64_t rows, int32_t* acc) const {
  static_assert(kRowBlock % kI4InputRows == 0);
  gemm.packed({.x = x.q.data() + InputAt(shape_, m0),
               .offset = x.offset.data() + OffsetAt(shape_, m0),
               .m = rows,
               .shape = shape_,
               .packed = packed,
               .blocks = Blocks(columns),
               .acc = acc,
               .acc_stride = kGroupColumns});
}

void MatrixI4::MakeRowSums(const GemmI4& gemm, ThreadPool& pool) {
  InputsI4 ones;
  ones.Resize(shape_, 1);
  ones.Fill(shape_, std::vector<int8_t>(static_cast<size_t>(shape_.k), 1).data(), 0, 1);
  pool.ParallelFor(n_, kLoadRows, [&](int64_t begin, int64_t end, int /*thread*/) {
    GemmScratch scratch;
    ForProducts(gemm, ones, 1, begin, end, scratch, [&](int64_t, int64_t n, int64_t columns, const int32_t* sums) {
      std::copy_n(sums, columns, row_sum_.data() + n);
    });
  });
}

MatrixI4 MatrixI4::InPlace(const WeightMatrix& weight, const WeightQuant& quant, const GemmI4& gemm, ThreadPool& pool) {
  MatrixI4 matrix(weight.rows, {.k = weight.cols, .group = quant.group});
  const int64_t groups = matrix.shape_.groups();
  matrix.rows_ = weight.data;
  matrix.multipliers_.resize(static_cast<size_t>(Blocks(weight.rows) * kPackRows * groups));
  PackMultipliers(quant.multiplier.data(), weight.rows, groups, matrix.multipliers_.data());
  matrix.MakeRowSums(gemm, pool);
  return matrix;
}

Result<MatrixI4> MatrixI4::Copy(const WeightMatrix& weight, const WeightQuant& quant, const GemmI4& gemm,
                                ThreadPool& pool, WeightMemory& memory) {
  MatrixI4 matrix(weight.rows, {.k = weight.cols, .group = quant.group});
  const int64_t groups = matrix.shape_.groups();
  ASSIGN_OR_RETURN(std::byte * copy, memory.Allocate(Blocks(weight.rows) * matrix.shape_.block_bytes()));
  matrix.packed_ = reinterpret_cast<uint8_t*>(copy);
  pool.ParallelFor(weight.rows, kLoadRows, [&](int64_t begin, int64_t end, int /*thread*/) {
    std::vector<uint8_t> multipliers(static_cast<size_t>(Blocks(end - begin) * kPackRows * groups));
    PackMultipliers(quant.multiplier.data() + begin * groups, end - begin, groups, multipliers.data());
    PackI4(matrix.shape_, weight.Row(begin), multipliers.data(), end - begin, matrix.Block(matrix.packed_, begin));
  });
  matrix.MakeRowSums(gemm, pool);
  return matrix;
}

}  // namespace phidias::cpu
