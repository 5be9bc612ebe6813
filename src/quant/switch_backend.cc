#include "quant/switch_backend.h"

#include <cmath>
#include <limits>

namespace phidias {
namespace {

constexpr size_t kLayerLinears = 6;

OutputError ErrorOf(std::span<const float> plain, std::span<const float> quantised) {
  OutputError error;
  for (size_t i = 0; i < plain.size(); ++i) {
    const double y = plain[i];
    const double other = quantised[i];
    error.signal += y * y;
    error.noise += (y - other) * (y - other);
    error.product += y * other;
    error.quantised += other * other;
  }
  return error;
}

}  // namespace

void OutputError::Add(const OutputError& other) {
  signal += other.signal;
  noise += other.noise;
  product += other.product;
  quantised += other.quantised;
}

double OutputError::SqnrDecibels() const {
  return noise == 0 ? std::numeric_limits<double>::infinity() : 10 * std::log10(signal / noise);
}

double OutputError::Cosine() const {
  if (signal == 0 || quantised == 0) {
    return signal == quantised ? 1 : 0;
  }
  return product / std::sqrt(signal * quantised);
}

SwitchBackend::SwitchBackend(std::unique_ptr<Backend> inner, const Checkpoint& quantised)
    : inner_(std::move(inner)), quantised_(quantised), linears_(quantised.weights.layers.size() * kLayerLinears + 1) {}

size_t SwitchBackend::IndexOf(LinearPlace place, int64_t n_layers) {
  const int64_t layer = place.role == LinearRole::kLmHead ? n_layers : place.layer;
  const auto within = place.role == LinearRole::kLmHead ? size_t{0} : static_cast<size_t>(place.role);
  return static_cast<size_t>(layer) * kLayerLinears + within;
}

const LinearWeights& SwitchBackend::Quantised(LinearPlace place) const {
  if (place.role == LinearRole::kLmHead) {
    return quantised_.weights.lm_head;
  }
  const PhiLayerWeights& layer = quantised_.weights.layers[static_cast<size_t>(place.layer)];
  switch (place.role) {
    case LinearRole::kQ: return layer.q_proj;
    case LinearRole::kK: return layer.k_proj;
    case LinearRole::kV: return layer.v_proj;
    case LinearRole::kDense: return layer.dense;
    case LinearRole::kFc1: return layer.fc1;
    default: return layer.fc2;
  }
}

Result<LinearId> SwitchBackend::LoadLinear(const LinearWeights& weights, LinearPlace place) {
  const size_t index = IndexOf(place, static_cast<int64_t>(quantised_.weights.layers.size()));
  Versions& versions = linears_[index];
  ASSIGN_OR_RETURN(versions.plain, inner_->LoadLinear(weights, place));
  const LinearWeights& other = Quantised(place);
  versions.differ = other.weight.dtype != weights.weight.dtype || other.input != weights.input;
  if (versions.differ) {
    ASSIGN_OR_RETURN(versions.quantised, inner_->LoadLinear(other, place));
    const int64_t cols = weights.weight.rows;
    if (!spares_.contains(cols)) {
      spares_[cols] = inner_->Allocate("spare", cols);
    }
    versions.spare = spares_[cols];
  }
  return LinearId{static_cast<int32_t>(index)};
}

void SwitchBackend::Linear(LinearId linear, Activation in, Activation out) {
  Versions& versions = linears_[static_cast<size_t>(linear)];
  inner_->Linear(versions.use_quantised && versions.differ ? versions.quantised : versions.plain, in, out);
  if (compare_ && versions.differ) {
    const bool swap = versions.use_quantised;
    inner_->Linear(swap ? versions.plain : versions.quantised, in, versions.spare);
    const std::span<const float> used = inner_->Read(out);
    const std::span<const float> other = inner_->Read(versions.spare);
    versions.error.Add(swap ? ErrorOf(other, used) : ErrorOf(used, other));
  }
}

std::vector<OutputError> SwitchBackend::TakeErrors() {
  std::vector<OutputError> errors;
  for (Versions& versions : linears_) {
    errors.push_back(versions.error);
    versions.error = {};
  }
  return errors;
}

}  // namespace phidias
