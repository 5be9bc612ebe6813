#include "model/int4_binding.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "backend/int4_rows.h"
#include "model/int4_constants_file.h"
#include "numerics/quantize.h"

namespace phidias {
namespace {

constexpr int64_t kChannelGroup = 128;  // of a scale per row: every group has the multiplier 1

Status CheckShape(const std::string& stem, const Dim& rows, const Dim& cols, TensorPicker* tensors) {
  ASSIGN_OR_RETURN(const StoredTensor* tensor, tensors->Take(stem + ".weight_shape", {{{2, ""}}}));
  const bool wide = tensor->dtype == DType::kI64;
  if (!wide && tensor->dtype != DType::kI32) {
    return DataError(tensors->Where(*tensor), " has dtype ", DTypeName(tensor->dtype), "; expected I64 or I32");
  }
  RETURN_IF_ERROR(tensors->CheckBytes(*tensor));
  int64_t shape[2] = {};
  for (size_t i = 0; i < 2; ++i) {
    int32_t narrow = 0;
    std::memcpy(&narrow, tensor->data + i * sizeof narrow, sizeof narrow);
    shape[i] = narrow;
    if (wide) {
      std::memcpy(&shape[i], tensor->data + i * sizeof shape[i], sizeof shape[i]);
    }
  }
  if (shape[0] != rows.size || shape[1] != cols.size) {
    return DataError(tensors->Where(*tensor), " holds [", shape[0], ", ", shape[1], "]; expected [", rows.size, ", ",
                     cols.size, "] (", rows.field, ", ", cols.field, ")");
  }
  return {};
}

// What others store beside the weights and we don't run.
Status CheckNotThere(const std::string& stem, TensorPicker* tensors) {
  const StoredTensor* order = tensors->TakeIfStored(stem + ".weight_g_idx");
  if (order != nullptr) {
    return Unsupported(tensors->Where(*order), " (columns in the order of activations) isn't run here; quantise with ",
                       "actorder \"static\" or without it");
  }
  const StoredTensor* zero = tensors->TakeIfStored(stem + ".weight_zero_point");
  if (zero != nullptr) {
    return Unsupported(tensors->Where(*zero), " isn't run here with 4 bits; a symmetric checkpoint is");
  }
  return {};
}

Result<std::vector<float>> ReadScales(const std::string& stem, const Dim& rows, int64_t groups, TensorPicker* tensors) {
  std::vector<Dims> shapes = {{rows, {groups, "groups of its columns"}}};
  if (groups == 1) {
    shapes.push_back({rows});
  }
  ASSIGN_OR_RETURN(const StoredTensor* tensor, tensors->Take(stem + ".weight_scale", shapes));
  ASSIGN_OR_RETURN(std::vector<float> scales, tensors->Floats(*tensor, "scales"));
  for (size_t i = 0; i < scales.size(); ++i) {
    if (scales[i] <= 0.0F) {
      return DataError(tensors->Where(*tensor), " holds ", scales[i], " at index ", i, "; expected positive numbers");
    }
    scales[i] = std::max(scales[i], numerics::kMinScale);
  }
  return scales;
}

double Squared(double value) {
  return value * value;
}

// A row of somebody else's: steps of any size, to become multiples of one scale.
class RowFit {
 public:
  RowFit(std::span<const float> steps, std::span<const int8_t> q, int64_t group) : steps_(steps), q_(q), group_(group) {
    for (size_t g = 0; g < steps.size(); ++g) {
      double sum = 0;
      for (const int8_t value : Codes(g)) {
        sum += Squared(value);
      }
      squares_.push_back(sum);
    }
    const float largest = *std::max_element(steps.begin(), steps.end());
    double least = -1;
    // The largest step's multiplier is tried down to half of what is possible: below, a finer scale does as well.
    for (int32_t top = numerics::kI4MultiplierMax; top > numerics::kI4MultiplierMax / 2; --top) {
      const float scale = std::max(largest / static_cast<float>(top), numerics::kMinScale);
      const double noise = Noise(scale);
      if (least < 0 || noise < least) {
        least = noise;
        scale_ = scale;
      }
    }
    noise_ = least;
  }

  float scale() const { return scale_; }
  uint8_t Multiplier(size_t g) const { return Nearest(steps_[g], scale_); }
  double noise() const { return noise_; }
  double signal() const {
    double sum = 0;
    for (size_t g = 0; g < steps_.size(); ++g) {
      sum += squares_[g] * Squared(static_cast<double>(steps_[g]));
    }
    return sum;
  }

  // The codes that are nearest to the same weights in the new steps, and what they lose.
  double Round(std::vector<int8_t>* out) const {
    double noise = 0;
    out->assign(q_.begin(), q_.end());
    for (size_t g = 0; g < steps_.size(); ++g) {
      const double step = scale_ * static_cast<float>(Multiplier(g));
      const double old = steps_[g];
      const size_t begin = g * static_cast<size_t>(group_);
      for (size_t k = begin; k < begin + Codes(g).size(); ++k) {
        const double wanted = old * q_[k];
        const double code = std::clamp(std::nearbyint(wanted / step), static_cast<double>(numerics::kI4Min),
                                       static_cast<double>(numerics::kI4Max));
        (*out)[k] = static_cast<int8_t>(code);
        noise += Squared(wanted - step * code);
      }
    }
    return noise;
  }

 private:
  static uint8_t Nearest(float step, float scale) {
    return static_cast<uint8_t>(
        std::clamp(std::nearbyint(step / scale), 1.0F, static_cast<float>(numerics::kI4MultiplierMax)));
  }
  std::span<const int8_t> Codes(size_t g) const {
    const size_t begin = g * static_cast<size_t>(group_);
    return q_.subspan(begin, std::min(static_cast<size_t>(group_), q_.size() - begin));
  }
  double Noise(float scale) const {
    double sum = 0;
    for (size_t g = 0; g < steps_.size(); ++g) {
      const float step = scale * static_cast<float>(Nearest(steps_[g], scale));
      sum += squares_[g] * Squared(static_cast<double>(steps_[g]) - static_cast<double>(step));
    }
    return sum;
  }

  std::span<const float> steps_;
  std::span<const int8_t> q_;
  int64_t group_;
  std::vector<double> squares_;  // of each group's codes
  float scale_ = 0;
  double noise_ = 0;
};

}  // namespace

Status Int4Binder::Bind(const QuantizationGroup& group, const std::string& stem, const Dim& rows, const Dim& cols,
                        TensorPicker* tensors, LinearWeights* out) {
  const int64_t size = group.scheme.weights->group;
  RETURN_IF_ERROR(CheckNotThere(stem, tensors));
  const Dim words = {(cols.size + 7) / 8, StrCat("words of 8 of ", cols.field)};
  ASSIGN_OR_RETURN(const StoredTensor* tensor, tensors->Take(stem + ".weight_packed", {{rows, words}}));
  if (tensor->dtype != DType::kI32) {
    return DataError(tensors->Where(*tensor), " has dtype ", DTypeName(tensor->dtype), "; expected I32, as ",
                     group.field, " packs this layer's weights in 4 bits");
  }
  RETURN_IF_ERROR(tensors->CheckBytes(*tensor));
  RETURN_IF_ERROR(CheckShape(stem, rows, cols, tensors));
  out->weight = {DType::kI4, tensor->data, rows.size, cols.size};
  out->quant.group = size == 0 ? kChannelGroup : size;
  const int64_t groups = size == 0 ? 1 : out->quant.Groups(cols.size);
  ASSIGN_OR_RETURN(std::vector<float> scales, ReadScales(stem, rows, groups, tensors));
  if (constants_ != nullptr) {
    return ReadConstants(stem, scales, out);
  }
  if (size == 0) {
    out->quant.multiplier.assign(static_cast<size_t>(rows.size * out->quant.Groups(cols.size)), 1);
    out->quant.scale = std::move(scales);
    return {};
  }
  Fit(stem, scales, out);
  return {};
}

Status Int4Binder::ReadConstants(const std::string& stem, const std::vector<float>& scales, LinearWeights* out) {
  WeightQuant& quant = out->quant;
  const auto rows = out->weight.rows;
  const int64_t groups = quant.Groups(out->weight.cols);
  const auto find = [&](const char* suffix, DType dtype,
                        const std::vector<int64_t>& shape) -> Result<const StoredTensor*> {
    const auto found = constants_->tensors.find(stem + suffix);
    if (found == constants_->tensors.end()) {
      return NotFound(kInt4ConstantsFile, ": tensor ", Quoted(stem + suffix), " is missing; quantise the model again");
    }
    const StoredTensor& tensor = found->second;
    if (tensor.dtype != dtype || tensor.shape != shape) {
      return DataError(tensor.file, ": tensor ", Quoted(tensor.name), " is ", DTypeName(tensor.dtype), " ",
                       ShapeString(tensor.shape), "; expected ", DTypeName(dtype), " ", ShapeString(shape));
    }
    used_.insert(tensor.name);
    return &tensor;
  };
  ASSIGN_OR_RETURN(const StoredTensor* scale, find(kRowScaleSuffix, DType::kF32, {rows}));
  ASSIGN_OR_RETURN(const StoredTensor* multiplier, find(kMultiplierSuffix, DType::kU8, {rows, groups}));
  quant.scale.resize(static_cast<size_t>(rows));
  std::memcpy(quant.scale.data(), scale->data, scale->bytes);
  for (size_t n = 0; n < quant.scale.size(); ++n) {
    if (!(quant.scale[n] >= numerics::kMinScale) || !std::isfinite(quant.scale[n])) {
      return DataError(scale->file, ": tensor ", Quoted(scale->name), " holds ", quant.scale[n], " at index ", n,
                       "; expected a number of at least ", numerics::kMinScale);
    }
  }
  quant.multiplier.resize(multiplier->bytes);
  std::memcpy(quant.multiplier.data(), multiplier->data, multiplier->bytes);
  for (size_t i = 0; i < quant.multiplier.size(); ++i) {
    const uint8_t m = quant.multiplier[i];
    const auto at = static_cast<int64_t>(i);
    const float step = Int4Step(quant, groups, at / groups, at % groups);
    if (m < 1 || m > numerics::kI4MultiplierMax) {
      return DataError(multiplier->file, ": tensor ", Quoted(multiplier->name), " holds ", static_cast<int32_t>(m),
                       " at index ", i, "; expected 1 to ", numerics::kI4MultiplierMax);
    }
    const size_t stored = scales.size() == quant.multiplier.size() ? i : i / static_cast<size_t>(groups);
    if (std::max(step, numerics::kMinScale) != scales[stored]) {
      return DataError(scale->file, ": the scale of row ", at / groups, ", group ", at % groups, " of ", Quoted(stem),
                       " is ", step, " (row_scale x group_multiplier), but its weight_scale is ", scales[stored],
                       "; the two files don't belong together: delete this one to have it fitted, or quantise again");
    }
  }
  return {};
}

void Int4Binder::Fit(const std::string& stem, const std::vector<float>& scales, LinearWeights* out) {
  const WeightMatrix matrix = out->weight;
  WeightQuant& quant = out->quant;
  const auto groups = static_cast<size_t>(quant.Groups(matrix.cols));
  std::vector<int8_t> q(static_cast<size_t>(matrix.cols));
  std::vector<int8_t> rounded;
  std::byte* fresh = nullptr;
  double signal = 0;
  double noise = 0;
  for (int64_t n = 0; n < matrix.rows; ++n) {
    UnpackInt4Row(matrix.Row(n), matrix.cols, q.data());
    const RowFit fit(std::span<const float>(scales).subspan(static_cast<size_t>(n) * groups, groups), q, quant.group);
    quant.scale.push_back(fit.scale());
    for (size_t g = 0; g < groups; ++g) {
      quant.multiplier.push_back(fit.Multiplier(g));
    }
    double lost = fit.noise();
    if (const double again = memory_ == nullptr ? lost : fit.Round(&rounded); again < lost) {
      lost = again;
      if (fresh == nullptr) {
        const std::byte* end = matrix.data + matrix.rows * matrix.RowBytes();
        memory_->owned.push_back(std::make_shared<std::vector<std::byte>>(matrix.data, end));
        fresh = memory_->owned.back()->data();
      }
      PackInt4Row(rounded.data(), matrix.cols, fresh + n * matrix.RowBytes());
    }
    signal += fit.signal();
    noise += lost;
  }
  out->weight.data = fresh == nullptr ? matrix.data : fresh;
  signal_ += signal;
  noise_ += noise;
  if (const double share = signal > 0 ? noise / signal : 0; share > worst_share_) {
    worst_share_ = share;
    worst_ = stem;
  }
}

Status Int4Binder::CheckNothingIsLeft() const {
  if (constants_ == nullptr) {
    return {};
  }
  for (const auto& [name, tensor] : constants_->tensors) {
    if (!used_.contains(name)) {
      return DataError(tensor.file, ": tensor ", Quoted(name), " is of no layer that config.json has in 4 bits");
    }
  }
  return {};
}

std::string Int4Binder::Warning(const std::string& path) const {
  if (noise_ == 0) {
    return "";
  }
  const auto percent = [](double share) { return std::round(std::sqrt(share) * 1e5) / 1e3; };
  return StrCat(path, ": its 4-bit weights come without ", kInt4ConstantsFile,
                ", so row scales and multipliers were fitted to weight_scale; that moved the weights by ",
                percent(noise_ / signal_), " % (root mean square; most in ", worst_, ": ", percent(worst_share_),
                " %)");
}

}  // namespace phidias
