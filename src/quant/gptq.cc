#include "quant/gptq.h"

#include <algorithm>
#include <span>

#include "backend/cpu/kernels.h"
#include "backend/int4_rows.h"
#include "numerics/fp_mode.h"
#include "quant/int4_quantizer.h"

namespace phidias {
namespace {

constexpr int64_t kBlock = 128;  // columns that wait for their corrections together; a multiple of every group
constexpr int64_t kGrain = 16;   // rows that a thread takes at a time

class Gptq {
 public:
  Gptq(const WeightSource& source, const HessianFactor& factor, WeightQuant* quant, ThreadPool* pool)
      : rows_(source.matrix.rows), cols_(source.matrix.cols), factor_(factor), quant_(*quant), pool_(*pool) {
    const auto size = static_cast<size_t>(rows_ * cols_);
    weight_.resize(size);
    error_.resize(size);
    codes_.resize(size);
    correction_.resize(static_cast<size_t>(kBlock * rows_));
    pool_.ParallelFor(rows_, kGrain, [&](int64_t begin, int64_t end, int /*thread*/) {
      for (int64_t n = begin; n < end; ++n) {
        source.Row(n, weight_.data() + n * cols_);
      }
    });
  }

  std::vector<std::byte> Run() {
    for (int64_t begin = 0; begin < cols_; begin += kBlock) {
      const int64_t end = std::min(begin + kBlock, cols_);
      Correct(begin, end);
      pool_.ParallelFor(rows_, kGrain, [&](int64_t first, int64_t last, int /*thread*/) {
        for (int64_t n = first; n < last; ++n) {
          QuantizeBlock(n, begin, end);
        }
      });
    }
    const int64_t row_bytes = DTypeBytes(DType::kI4, cols_);
    std::vector<std::byte> packed(static_cast<size_t>(rows_ * row_bytes));
    for (int64_t n = 0; n < rows_; ++n) {
      PackInt4Row(codes_.data() + n * cols_, cols_, packed.data() + n * row_bytes);
    }
    return packed;
  }

 private:
  // correction[c, n] = sum over the columns before the block of error[n, j] U[j, c].
  void Correct(int64_t begin, int64_t end) {
    if (begin == 0) {
      return;
    }
    std::vector<float> columns(static_cast<size_t>((end - begin) * begin));  // U's, transposed
    for (int64_t j = 0; j < begin; ++j) {
      for (int64_t c = begin; c < end; ++c) {
        columns[static_cast<size_t>((c - begin) * begin + j)] = factor_.unit[static_cast<size_t>(j * cols_ + c)];
      }
    }
    const cpu::Kernels& kernels = cpu::BestKernels();
    const cpu::LinearArgs args = {.x = columns.data(),
                                  .m = end - begin,
                                  .k = begin,
                                  .weight_dtype = DType::kF32,
                                  .weight = reinterpret_cast<const std::byte*>(error_.data()),
                                  .weight_row_bytes = cols_ * static_cast<int64_t>(sizeof(float)),
                                  .y = correction_.data(),
                                  .y_stride = rows_};
    std::vector<std::vector<float>> scratch(
        static_cast<size_t>(pool_.size()),
        std::vector<float>(static_cast<size_t>(kernels.linear_block * (begin + 16))));
    pool_.ParallelFor(rows_, 4 * kernels.linear_block, [&](int64_t first, int64_t last, int thread) {
      const numerics::ScopedFlushToZero mode;
      kernels.linear(args, first, last, scratch[static_cast<size_t>(thread)].data());
    });
  }

  // Columns [begin, end) of row n.
  void QuantizeBlock(int64_t n, int64_t begin, int64_t end) {
    float values[kBlock] = {};
    const float* weight = weight_.data() + n * cols_;
    for (int64_t c = begin; c < end; ++c) {
      values[c - begin] = weight[c] + (begin == 0 ? 0.0F : correction_[static_cast<size_t>((c - begin) * rows_ + n)]);
    }
    const int64_t groups = quant_.Groups(cols_);
    float step = 1;
    for (int64_t c = begin; c < end; ++c) {
      const int64_t i = c - begin;
      if (c % quant_.group == 0) {
        const int64_t size = std::min(quant_.group, end - c);
        const float scale = quant_.scale[static_cast<size_t>(n)];
        quant_.multiplier[static_cast<size_t>(n * groups + c / quant_.group)] =
            BestInt4Multiplier(std::span(values + i, static_cast<size_t>(size)), scale,
                               std::span(factor_.diagonal).subspan(static_cast<size_t>(c), static_cast<size_t>(size)));
        step = Int4Step(quant_, groups, n, c / quant_.group);
      }
      const int8_t q = RoundInt4(values[i], step);
      const float error = weight[c] - step * static_cast<float>(q);
      codes_[static_cast<size_t>(n * cols_ + c)] = q;
      error_[static_cast<size_t>(n * cols_ + c)] = error;
      const float* row = factor_.unit.data() + c * cols_ + begin;
      for (int64_t later = i + 1; later < end - begin; ++later) {
        values[later] += error * row[later];
      }
    }
  }

  int64_t rows_;
  int64_t cols_;
  const HessianFactor& factor_;
  WeightQuant& quant_;
  ThreadPool& pool_;
  std::vector<float> weight_;      // [rows, cols]
  std::vector<float> error_;       // [rows, cols]: weight less what it was rounded to
  std::vector<int8_t> codes_;      // [rows, cols]
  std::vector<float> correction_;  // [kBlock, rows]
};

}  // namespace

std::vector<std::byte> QuantizeGptq(const WeightSource& source, const HessianFactor& factor, WeightQuant* quant,
                                    ThreadPool* pool) {
  return Gptq(source, factor, quant, pool).Run();
}

}  // namespace phidias
