#include "quant/smooth.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "backend/cpu/kernels.h"
#include "backend/int4_rows.h"
#include "numerics/fp_mode.h"
#include "numerics/quantize.h"
#include "numerics/rotary.h"
#include "quant/input_range.h"
#include "quant/int4_quantizer.h"

namespace phidias {
namespace {

constexpr int64_t kSearchRows = 256;  // of each reader
// Up to 0.9: at 1 a channel's share of the range is its extreme in calibration alone, and perplexity gets worse again
// although the sampled outputs get better (demo model with outliers: +0.24 % at 1, +0.20 % at 0.9, +0.15 % at 0.65).
constexpr double kAlphas[] = {0.3, 0.4, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9};
constexpr float kLeast = 1e-5F;  // keeps factors of nearly dead channels and columns within reason

// The largest of each group, for all channels.
void ShareWithinGroups(const std::vector<int64_t>& channel_of, std::vector<float>* values) {
  if (channel_of.empty()) {
    return;
  }
  std::vector<float> shared(values->size(), 0.0F);
  for (size_t i = 0; i < values->size(); ++i) {
    float& largest = shared[static_cast<size_t>(channel_of[i])];
    largest = std::max(largest, (*values)[i]);
  }
  for (size_t i = 0; i < values->size(); ++i) {
    (*values)[i] = shared[static_cast<size_t>(channel_of[i])];
  }
}

std::vector<float> InputAbsMax(const SmoothTarget& target) {
  std::vector<float> absmax(target.input->channel_max.size());
  for (size_t i = 0; i < absmax.size(); ++i) {
    absmax[i] = std::max(-target.input->channel_min[i], target.input->channel_max[i]);
  }
  ShareWithinGroups(target.channel_of, &absmax);
  return absmax;
}

std::vector<float> WeightAbsMax(const SmoothTarget& target) {
  std::vector<float> absmax(target.input->channel_max.size(), 0.0F);
  for (const WeightSource* reader : target.readers) {
    const std::vector<float> columns = ColumnAbsMax(*reader);
    for (size_t i = 0; i < absmax.size(); ++i) {
      absmax[i] = std::max(absmax[i], columns[i]);
    }
  }
  ShareWithinGroups(target.channel_of, &absmax);
  return absmax;
}

// A reader's rows at even distances as float32, and its exact outputs for the samples.
struct SampledReader {
  std::vector<float> weight;  // [rows, cols]
  int64_t rows = 0;
  std::vector<float> want;  // [samples, rows]
  double norm = 0;          // sum of squares of `want`
};

class Search {
 public:
  Search(const SmoothTarget& target, const QuantScheme& scheme, ThreadPool* pool)
      : target_(target),
        scheme_(scheme),
        pool_(pool),
        cols_(static_cast<int64_t>(target.input->channel_max.size())),
        samples_(static_cast<int64_t>(target.samples.size()) / cols_),
        kernels_(cpu::BestKernels()) {
    for (const WeightSource* reader : target.readers) {
      AddReader(*reader);
    }
  }

  // The error with the input divided by `factor`; empty: as it is.
  Result<double> Error(const std::vector<float>& factor) const;

 private:
  void AddReader(const WeightSource& source);
  // The outputs for inputs `x` of these rows, quantised as the scheme says.
  Status QuantizedOutput(const std::vector<float>& x, const WeightSource& source, std::vector<float>* y) const;
  std::vector<float> QuantizedInput(const std::vector<float>& factor) const;
  void Linear(const std::vector<float>& x, WeightMatrix weight, const WeightQuant& quant, std::vector<float>* y) const;

  const SmoothTarget& target_;
  const QuantScheme& scheme_;
  ThreadPool* pool_;
  int64_t cols_;
  int64_t samples_;
  const cpu::Kernels& kernels_;
  std::vector<SampledReader> readers_;
};

void Search::AddReader(const WeightSource& source) {
  SampledReader reader;
  reader.rows = std::min(source.matrix.rows, kSearchRows);
  reader.weight.resize(static_cast<size_t>(reader.rows * cols_));
  for (int64_t i = 0; i < reader.rows; ++i) {
    source.Row(i * source.matrix.rows / reader.rows, reader.weight.data() + i * cols_);
  }
  const auto* bytes = reinterpret_cast<const std::byte*>(reader.weight.data());
  Linear(target_.samples, {DType::kF32, bytes, reader.rows, cols_}, {}, &reader.want);
  for (const float value : reader.want) {
    reader.norm += static_cast<double>(value) * static_cast<double>(value);
  }
  readers_.push_back(std::move(reader));
}

// y[samples, rows] = x weight^T.
void Search::Linear(const std::vector<float>& x, WeightMatrix weight, const WeightQuant& quant,
                    std::vector<float>* y) const {
  y->resize(static_cast<size_t>(samples_ * weight.rows));
  const cpu::LinearArgs args = {.x = x.data(),
                                .m = samples_,
                                .k = cols_,
                                .weight_dtype = weight.dtype,
                                .weight = weight.data,
                                .weight_row_bytes = weight.RowBytes(),
                                .weight_scale = quant.scale.empty() ? nullptr : quant.scale.data(),
                                .weight_zero_point = quant.zero_point.empty() ? nullptr : quant.zero_point.data(),
                                .y = y->data(),
                                .y_stride = weight.rows};
  const int64_t grain = 4 * kernels_.linear_block;
  std::vector<std::vector<float>> scratch(
      static_cast<size_t>(pool_->size()),
      std::vector<float>(static_cast<size_t>(kernels_.linear_block * (cols_ + 16))));
  pool_->ParallelFor(weight.rows, grain, [&](int64_t begin, int64_t end, int thread) {
    const numerics::ScopedFlushToZero mode;
    kernels_.linear(args, begin, end, scratch[static_cast<size_t>(thread)].data());
  });
}

// The samples, divided, quantised as the scheme says and put back to float.
std::vector<float> Search::QuantizedInput(const std::vector<float>& factor) const {
  std::vector<float> x = target_.samples;
  for (size_t i = 0; !factor.empty() && i < x.size(); ++i) {
    x[i] /= factor[i % factor.size()];
  }
  InputQuant how = FindInputQuant(
      factor.empty() ? target_.input->histogram : SmoothedHistogram(*target_.input, target_.samples, factor),
      scheme_.activations, scheme_.percentile);
  if (how.kind == InputQuant::Kind::kNone) {
    return x;
  }
  std::vector<int8_t> q(static_cast<size_t>(cols_));
  for (int64_t m = 0; m < samples_; ++m) {
    float* row = x.data() + m * cols_;
    if (how.kind == InputQuant::Kind::kDynamic) {
      float min = 0;
      float max = 0;
      kernels_.min_max(row, cols_, &min, &max);
      how.scale = numerics::SymmetricScale(std::max(-min, max)).scale;
    }
    kernels_.quantize_row(row, cols_, 1.0F / how.scale, static_cast<float>(how.zero_point), q.data());
    for (int64_t k = 0; k < cols_; ++k) {
      row[k] = numerics::DequantizeS8(q[static_cast<size_t>(k)], how.zero_point, how.scale);
    }
  }
  return x;
}

Status Search::QuantizedOutput(const std::vector<float>& x, const WeightSource& source, std::vector<float>* y) const {
  const int64_t rows = source.matrix.rows;
  const auto size = static_cast<size_t>(rows * cols_);
  if (scheme_.weights != RangeKind::kNone && scheme_.weight_bits == 8) {
    std::vector<int8_t> q(size);
    ASSIGN_OR_RETURN(const WeightQuant quant,
                     FindWeightQuant(source, scheme_.weights, scheme_.granularity, scheme_.percentile, pool_));
    QuantizeWeightRows(source, quant, 0, rows, q.data(), pool_);
    Linear(x, {DType::kI8, reinterpret_cast<const std::byte*>(q.data()), rows, cols_}, quant, y);
    return {};
  }
  std::vector<float> weight(size);
  if (scheme_.weight_bits == 4) {
    ASSIGN_OR_RETURN(const WeightQuant quant, FindInt4Quant(source, scheme_.weights, scheme_.group, pool_));
    std::vector<std::byte> packed(static_cast<size_t>(rows * DTypeBytes(DType::kI4, cols_)));
    QuantizeInt4Rows(source, quant, 0, rows, packed.data(), pool_);
    for (int64_t n = 0; n < rows; ++n) {
      DecodeInt4Row({DType::kI4, packed.data(), rows, cols_}, quant, n, weight.data() + n * cols_);
    }
  } else {
    for (int64_t n = 0; n < rows; ++n) {
      source.Row(n, weight.data() + n * cols_);
    }
  }
  Linear(x, {DType::kF32, reinterpret_cast<const std::byte*>(weight.data()), rows, cols_}, {}, y);
  return {};
}

Result<double> Search::Error(const std::vector<float>& factor) const {
  const std::vector<float> x = QuantizedInput(factor);
  double total = 0;
  for (const SampledReader& reader : readers_) {
    const auto* bytes = reinterpret_cast<const std::byte*>(reader.weight.data());
    const WeightSource source = {"", {DType::kF32, bytes, reader.rows, cols_}, factor, {}};
    std::vector<float> y;
    RETURN_IF_ERROR(QuantizedOutput(x, source, &y));
    double error = 0;
    for (size_t i = 0; i < y.size(); ++i) {
      const double difference = static_cast<double>(y[i]) - static_cast<double>(reader.want[i]);
      error += difference * difference;
    }
    total += reader.norm > 0 ? error / reader.norm : 0;
  }
  return total;
}

}  // namespace

std::vector<float> SmoothFactors(const std::vector<float>& x_absmax, const std::vector<float>& w_absmax, double alpha) {
  std::vector<float> factors(x_absmax.size(), 1.0F);
  for (size_t i = 0; i < factors.size(); ++i) {
    if (x_absmax[i] > 0) {
      const auto x = static_cast<double>(std::max(x_absmax[i], kLeast));
      const auto w = static_cast<double>(std::max(w_absmax[i], kLeast));
      const double log = alpha * numerics::LogDouble(x) - (1 - alpha) * numerics::LogDouble(w);
      factors[i] = std::max(static_cast<float>(numerics::ExpDouble(log)), kLeast);
    }
  }
  return factors;
}

SmoothChoice SmoothWith(const SmoothTarget& target, double alpha) {
  return {true, alpha, SmoothFactors(InputAbsMax(target), WeightAbsMax(target), alpha)};
}

Result<SmoothChoice> SearchSmoothing(const SmoothTarget& target, const QuantScheme& scheme, ThreadPool* pool) {
  const Search search(target, scheme, pool);
  const std::vector<float> x_absmax = InputAbsMax(target);
  const std::vector<float> w_absmax = WeightAbsMax(target);
  SmoothChoice best;
  ASSIGN_OR_RETURN(double least, search.Error({}));
  for (const double alpha : kAlphas) {
    std::vector<float> factor = SmoothFactors(x_absmax, w_absmax, alpha);
    ASSIGN_OR_RETURN(const double error, search.Error(factor));
    if (error < least) {
      least = error;
      best = {true, alpha, std::move(factor)};
    }
  }
  return best;
}

}  // namespace phidias
