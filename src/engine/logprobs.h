#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "common/status.h"

namespace phidias {

// The normaliser of a softmax: ln(sum of exp) = max + log_sum, in double from float32 logits. The sum runs in 16 lanes
// of fixed order: the same bits everywhere. `log_sum` is NaN where the logits have NaN or infinity.
struct SoftmaxNorm {
  double max = 0;
  double log_sum = 0;
};
SoftmaxNorm NormOf(std::span<const float> logits);

// -ln of the softmax probability of `target`; NaN where the logits aren't all numbers.
double NegativeLogLikelihood(std::span<const float> logits, int32_t target);

// What the model thought of a token: natural logarithms of its own distribution, before penalties, bias and
// temperature.
struct TokenLogprob {
  int32_t id = 0;
  float logprob = 0;
  std::vector<std::pair<int32_t, float>> top;  // the most probable ones, best first, equal ones by id
};

// `top`: how many of the most probable to name; ids in `skip` (those without text) are not among them.
// Data error where the logits aren't all numbers.
Result<TokenLogprob> ScoreToken(std::span<const float> logits, int32_t id, int64_t top, std::span<const int32_t> skip);

}  // namespace phidias
