#pragma once

#include <cstdint>
#include <vector>

#include "common/status.h"
#include "common/thread_pool.h"

namespace phidias {

// H = X^T X of a linear layer's inputs X [tokens, cols]: how much an error in one weight can be made up for by others.
// Symmetric: [r, c] is kept for c >= r alone. float32, cols^2 of them (420 MB for phi-2's fc2).
struct Hessian {
  int64_t cols = 0;
  int64_t tokens = 0;
  std::vector<float> values;  // [cols, cols]

  explicit Hessian(int64_t columns)
      : cols(columns), values(static_cast<size_t>(columns) * static_cast<size_t>(columns)) {}

  // `x` [rows, cols]. The sum depends on how rows are dealt to calls, not on the threads.
  void Add(int64_t rows, const float* x, ThreadPool* pool);
};

// What GPTQ needs of H: the unit upper triangular U with H + damping = U D U^T. An error e in column j of the weights
// is made up for by adding e * U[j, k] to column k > j (the LDL form of GPTQ: Chee et al., 2023, theorem 6).
struct HessianFactor {
  int64_t cols = 0;
  std::vector<float> unit;      // [cols, cols], in its upper half
  std::vector<float> diagonal;  // D: what a column's rounding costs once the columns after it have made up for it
  double damping = 0;           // share of the mean diagonal that was added to the diagonal
};

// Takes H over, as it is large. Columns that are always zero get the damping alone, so they are rounded on their own.
// Where 1 % damping isn't enough for a positive definite matrix, 10 % and 100 % are tried. Data error that names the
// column: values that aren't finite, not positive definite all the same, no input other than zeros.
Result<HessianFactor> FactorHessian(Hessian hessian, ThreadPool* pool);

}  // namespace phidias
