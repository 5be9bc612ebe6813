#include "engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <unordered_map>

#include "numerics/fp_mode.h"

namespace phidias {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

Status CheckRange(const char* name, double value, double low, double high, bool low_open) {
  const bool ok = (low_open ? value > low : value >= low) && value <= high;
  return ok ? Status()
            : InvalidArgument(name, " is ", value, ": must be in ", low_open ? "(" : "[", low, ", ", high, "]");
}

// Without a way out of the loop, which compilers turn into vectors.
bool AllFinite(std::span<const float> values) {
  int32_t broken = 0;
  for (const float value : values) {
    broken |= std::abs(value) <= std::numeric_limits<float>::max() ? 0 : 1;
  }
  return broken == 0;
}

}  // namespace

Status ValidateSampling(const SamplingParams& params) {
  RETURN_IF_ERROR(CheckRange("temperature", params.temperature, 0, 100, false));
  RETURN_IF_ERROR(CheckRange("top_k", params.top_k, 0, 1 << 30, false));
  RETURN_IF_ERROR(CheckRange("top_p", params.top_p, 0, 1, true));
  RETURN_IF_ERROR(CheckRange("min_p", params.min_p, 0, 1, false));
  RETURN_IF_ERROR(CheckRange("repeat_penalty", params.repeat_penalty, 0, 100, true));
  RETURN_IF_ERROR(CheckRange("repeat_last_n", params.repeat_last_n, -1, 1 << 30, false));
  RETURN_IF_ERROR(CheckRange("presence_penalty", params.presence_penalty, -100, 100, false));
  return CheckRange("frequency_penalty", params.frequency_penalty, -100, 100, false);
}

numerics::SampleRule RuleOf(const SamplingParams& params) {
  return {params.temperature, params.top_k, params.top_p, params.min_p};
}

Sampler::Sampler(const SamplingParams& params, std::vector<int32_t> banned, uint64_t stream, LogitBias bias)
    : params_(params), banned_(std::move(banned)), stream_(stream), bias_(std::move(bias)) {}

void Sampler::ApplyPenalties(std::span<const int32_t> history) {
  if (params_.UsesLogitsAlone()) {
    return;
  }
  if (params_.repeat_last_n >= 0 && history.size() > static_cast<size_t>(params_.repeat_last_n)) {
    history = history.last(static_cast<size_t>(params_.repeat_last_n));
  }
  std::unordered_map<int32_t, int32_t> counts;
  for (const int32_t id : history) {
    ++counts[id];
  }
  for (const auto& [id, count] : counts) {
    float& logit = logits_[static_cast<size_t>(id)];
    logit = logit > 0 ? logit / params_.repeat_penalty : logit * params_.repeat_penalty;
    logit -= static_cast<float>(count) * params_.frequency_penalty + params_.presence_penalty;
  }
}

// Candidates, best first, equal logits by id: a total order, so that no sorting routine's habits show.
void Sampler::KeepTopK() {
  candidates_.clear();
  for (size_t id = 0; id < logits_.size(); ++id) {
    if (logits_[id] > kNever) {
      candidates_.push_back({logits_[id], static_cast<int32_t>(id)});
    }
  }
  const auto better = [](const Candidate& a, const Candidate& b) {
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
  };
  size_t keep = candidates_.size();
  if (params_.top_k > 0) {
    keep = std::min(keep, static_cast<size_t>(params_.top_k));
  }
  std::partial_sort(candidates_.begin(), candidates_.begin() + static_cast<int64_t>(keep), candidates_.end(), better);
  candidates_.resize(keep);
}

Result<int32_t> Sampler::Sample(std::span<const float> logits, std::span<const int32_t> history, int64_t position) {
  const numerics::ScopedFlushToZero mode;
  logits_.assign(logits.begin(), logits.end());
  if (!AllFinite(logits_)) {
    return DataError("the model's logits are not all finite at position ", position,
                     ": its weights are broken, or its activations overflow");
  }
  for (const auto& [id, bias] : bias_) {
    if (id >= 0 && static_cast<size_t>(id) < logits_.size()) {
      logits_[static_cast<size_t>(id)] += bias;
    }
  }
  ApplyPenalties(history);
  for (const int32_t id : banned_) {
    if (id >= 0 && static_cast<size_t>(id) < logits_.size()) {
      logits_[static_cast<size_t>(id)] = kNever;
    }
  }
  const auto best = std::max_element(logits_.begin(), logits_.end());
  if (best == logits_.end() || *best == kNever) {
    return DataError("no token may be sampled: the tokenizer has text for none of the model's ", logits.size(), " ids");
  }
  if (params_.temperature <= 0.0F) {
    return static_cast<int32_t>(best - logits_.begin());
  }
  KeepTopK();
  weights_.resize(candidates_.size());
  const int32_t drawn =
      numerics::SampleCandidate(candidates_.data(), static_cast<int32_t>(candidates_.size()), RuleOf(params_),
                                {params_.seed, stream_}, static_cast<uint64_t>(position), weights_.data());
  return candidates_[static_cast<size_t>(drawn)].id;
}

}  // namespace phidias
