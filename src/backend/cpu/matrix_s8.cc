#include "backend/cpu/matrix_s8.h"

#include <algorithm>
#include <cstring>

namespace phidias::cpu {
namespace {

// Packing a group costs about as much as multiplying it with one or two rows.
constexpr int64_t kRowsThatPayPacking = 8;

}  // namespace

void MultiplyS8(const GemmS8& gemm, const GroupS8& group, const int8_t* x, const int32_t* x_sum, int64_t m,
                int32_t* acc) {
  if (group.packed != nullptr) {
    gemm.packed({.x = x,
                 .x_sum = x_sum,
                 .m = m,
                 .k = group.k,
                 .packed = group.packed,
                 .blocks = (group.columns + kPackRows - 1) / kPackRows,
                 .acc = acc,
                 .acc_stride = kGroupColumns});
    return;
  }
  gemm.run({.x = x,
            .m = m,
            .k = group.k,
            .weight = group.rows,
            .row_sum = group.row_sum,
            .acc = acc,
            .acc_stride = kGroupColumns},
           0, group.columns);
}

void MatrixS8::MakeRowSums(const int8_t* rows, ThreadPool& pool) {
  row_sum_.resize(static_cast<size_t>(n_));
  pool.ParallelFor(n_, kLoadRows, [&](int64_t begin, int64_t end, int /*thread*/) {
    RowSumsS8(rows + begin * k_, end - begin, k_, row_sum_.data() + begin);
  });
}

MatrixS8 MatrixS8::InPlace(const int8_t* rows, int64_t n, int64_t k, ThreadPool& pool) {
  MatrixS8 matrix;
  matrix.rows_ = rows;
  matrix.n_ = n;
  matrix.k_ = k;
  matrix.MakeRowSums(rows, pool);
  return matrix;
}

Result<MatrixS8> MatrixS8::Copy(const int8_t* rows, int64_t n, int64_t k, const GemmS8& gemm, ThreadPool& pool,
                                WeightMemory& memory) {
  MatrixS8 matrix;
  matrix.n_ = n;
  matrix.k_ = k;
  matrix.row_sum_.resize(static_cast<size_t>(n));
  const bool packs = gemm.packed != nullptr;
  ASSIGN_OR_RETURN(std::byte * copy, memory.Allocate(packs ? PackedBytes(n, k) : n * k));
  pool.ParallelFor(n, kLoadRows, [&](int64_t begin, int64_t end, int /*thread*/) {
    const int8_t* from = rows + begin * k;
    RowSumsS8(from, end - begin, k, matrix.row_sum_.data() + begin);
    if (packs) {
      PackS8(from, end - begin, k, reinterpret_cast<uint8_t*>(copy) + begin * PackedInputs(k));
    } else {
      std::memcpy(copy + begin * k, from, static_cast<size_t>((end - begin) * k));
    }
  });
  matrix.packed_ = packs ? reinterpret_cast<const uint8_t*>(copy) : nullptr;
  matrix.rows_ = packs ? nullptr : reinterpret_cast<const int8_t*>(copy);
  return matrix;
}

GroupS8 MatrixS8::Group(const GemmS8& gemm, int64_t n_begin, int64_t m, std::vector<uint8_t>& scratch) const {
  GroupS8 group = {.packed = nullptr,
                   .rows = nullptr,
                   .row_sum = row_sum_.data() + n_begin,
                   .columns = std::min(kGroupColumns, n_ - n_begin),
                   .k = k_};
  if (packed_ != nullptr) {
    group.packed = packed_ + n_begin * PackedInputs(k_);
    return group;
  }
  group.rows = rows_ + n_begin * k_;
  if (m >= kRowsThatPayPacking && gemm.packed != nullptr) {
    scratch.resize(static_cast<size_t>(PackedBytes(kGroupColumns, k_)));
    PackS8(group.rows, group.columns, k_, scratch.data());
    group.packed = scratch.data();
  }
  return group;
}

}  // namespace phidias::cpu
