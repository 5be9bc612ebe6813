#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "common/status.h"
#include "numerics/sampling.h"

namespace phidias {

// Names, order and defaults of llama.cpp's sampling flags. A value that switches a filter off is named beside it.
struct SamplingParams {
  float temperature = 0.0F;        // 0: greedy (the largest logit, the smallest id among equals)
  int32_t top_k = 40;              // 0: all
  float top_p = 0.95F;             // 1: off
  float min_p = 0.05F;             // 0: off
  float repeat_penalty = 1.0F;     // 1: off
  int32_t repeat_last_n = 64;      // tokens that the three penalties look back on; -1: the whole context, 0: none
  float presence_penalty = 0.0F;   // 0: off
  float frequency_penalty = 0.0F;  // 0: off
  uint64_t seed = 0;

  // Whether the tokens so far have no part in the next one but through its logits: no penalty is on.
  bool UsesLogitsAlone() const {
    return repeat_last_n == 0 || (repeat_penalty == 1.0F && presence_penalty == 0.0F && frequency_penalty == 0.0F);
  }
};

// Errors name the field and its range: temperature 0..100, top_k >= 0, top_p in (0, 1], min_p in [0, 1], repeat_penalty
// in (0, 100], penalties in [-100, 100], repeat_last_n >= -1. NaN is out of every range.
Status ValidateSampling(const SamplingParams& params);

// The part of it that is the same wherever a token is drawn.
numerics::SampleRule RuleOf(const SamplingParams& params);

// What is added to the logits of some ids before everything else.
using LogitBias = std::vector<std::pair<int32_t, float>>;

// Chooses a token from logits: bias, penalties, then top-k, top-p, min-p on the untempered distribution, then
// temperature and a draw (llama.cpp's order).
//
// The same on every machine: probabilities are 30-bit integers from the contract's exp, so their sums don't depend on
// order, and the draw for position p of stream s is a function of (seed, s, p) alone (numerics/random.h). A restart, a
// batch or a speculative step therefore draws what one plain run draws.
class Sampler {
 public:
  // `banned`: ids that are never chosen (no text, or eos where it is to be ignored). `stream` tells sequences apart
  // that share a seed.
  Sampler(const SamplingParams& params, std::vector<int32_t> banned, uint64_t stream = 0, LogitBias bias = {});

  // logits[vocab_size] of the position before `position`; history: all tokens so far, for the penalties.
  // Data error where no logit is a finite number: the weights or the activations are broken.
  Result<int32_t> Sample(std::span<const float> logits, std::span<const int32_t> history, int64_t position);

 private:
  struct Candidate {
    float logit;
    int32_t id;
  };
  void ApplyPenalties(std::span<const int32_t> history);
  void KeepTopK();

  SamplingParams params_;
  std::vector<int32_t> banned_;
  uint64_t stream_;
  LogitBias bias_;
  std::vector<float> logits_;          // working copy
  std::vector<Candidate> candidates_;  // best first once KeepTopK has run
  std::vector<uint32_t> weights_;      // of the candidates, as 30-bit fractions of the largest
};

}  // namespace phidias
