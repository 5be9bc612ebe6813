#include "engine/logprobs.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "numerics/elementary.h"
#include "numerics/rotary.h"

namespace phidias {

SoftmaxNorm NormOf(std::span<const float> logits) {
  constexpr size_t kLanes = 16;
  const size_t whole = logits.size() / kLanes * kLanes;
  float largest[kLanes];
  std::fill_n(largest, kLanes, -std::numeric_limits<float>::infinity());
  for (size_t i = 0; i < whole; i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) {
      largest[lane] = logits[i + lane] > largest[lane] ? logits[i + lane] : largest[lane];
    }
  }
  for (size_t i = whole; i < logits.size(); ++i) {
    largest[i - whole] = logits[i] > largest[i - whole] ? logits[i] : largest[i - whole];
  }
  const float max = *std::max_element(largest, largest + kLanes);
  // The contract's float exp is within 2 ulp and its terms' errors average out; the sum is in double.
  double sums[kLanes] = {};
  for (size_t i = 0; i < whole; i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) {
      sums[lane] += static_cast<double>(numerics::Exp(logits[i + lane] - max));
    }
  }
  for (size_t i = whole; i < logits.size(); ++i) {
    sums[i - whole] += static_cast<double>(numerics::Exp(logits[i] - max));
  }
  double sum = 0;
  for (const double lane : sums) {
    sum += lane;
  }
  const bool numbers = std::isfinite(sum) && std::isfinite(max);
  return {static_cast<double>(max), numbers ? numerics::LogDouble(sum) : std::numeric_limits<double>::quiet_NaN()};
}

double NegativeLogLikelihood(std::span<const float> logits, int32_t target) {
  const SoftmaxNorm norm = NormOf(logits);
  return (norm.max - static_cast<double>(logits[static_cast<size_t>(target)])) + norm.log_sum;
}

Result<TokenLogprob> ScoreToken(std::span<const float> logits, int32_t id, int64_t top, std::span<const int32_t> skip) {
  const SoftmaxNorm norm = NormOf(logits);
  if (!std::isfinite(norm.log_sum)) {
    return DataError("the model's logits are not all finite: its weights are broken, or its activations overflow");
  }
  const auto logprob = [&](int32_t token) {
    return static_cast<float>(static_cast<double>(logits[static_cast<size_t>(token)]) - norm.max - norm.log_sum);
  };
  TokenLogprob score = {.id = id, .logprob = logprob(id), .top = {}};
  if (top <= 0) {
    return score;
  }
  std::vector<bool> skipped(logits.size());
  for (const int32_t token : skip) {
    skipped[static_cast<size_t>(token)] = true;
  }
  std::vector<int32_t> ids;
  for (size_t token = 0; token < logits.size(); ++token) {
    if (!skipped[token]) {
      ids.push_back(static_cast<int32_t>(token));
    }
  }
  const size_t keep = std::min(ids.size(), static_cast<size_t>(top));
  const auto better = [&](int32_t a, int32_t b) {
    const float x = logits[static_cast<size_t>(a)];
    const float y = logits[static_cast<size_t>(b)];
    return x > y || (x == y && a < b);
  };
  std::partial_sort(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(keep), ids.end(), better);
  for (size_t i = 0; i < keep; ++i) {
    score.top.emplace_back(ids[i], logprob(ids[i]));
  }
  return score;
}

}  // namespace phidias
