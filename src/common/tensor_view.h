#pragma once

#include <cstdint>

namespace phidias {

// A row-major matrix [rows, cols] in somebody else's memory; `stride` elements from one row to the next.
template <class T>
struct TensorView {
  T* data = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t stride = 0;

  TensorView() = default;
  TensorView(T* data_in, int64_t rows_in, int64_t cols_in)
      : data(data_in), rows(rows_in), cols(cols_in), stride(cols_in) {}

  T* Row(int64_t row) const { return data + row * stride; }
};

}  // namespace phidias
