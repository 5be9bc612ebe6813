#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "common/status.h"
#include "model/phi.h"
#include "quant/dataset.h"
#include "quant/ranks.h"

namespace phidias {

// A text to score: tokens ids[first_scored..] are predicted, each from all before it. Views somebody else's ids.
struct ScoredRow {
  std::span<const int32_t> ids;
  int64_t first_scored = 1;  // at least 1: nothing comes before token 0
};

// Each row alone, all its tokens but the first predicted (the rule of docs/quantisation.md).
std::vector<ScoredRow> WholeRows(const Dataset& dataset);

// One long stream by the sliding-window rule: windows of `window` tokens that begin every `stride` tokens; each scores
// only what the windows before it haven't. 1 <= stride <= window, window >= 2.
Result<std::vector<ScoredRow>> SlidingWindows(std::span<const int32_t> stream, int64_t window, int64_t stride);

// What one row contributes.
struct RowScore {
  double nll = 0;  // sum of -ln P(token | tokens before it)
  int64_t tokens = 0;

  bool operator==(const RowScore&) const = default;
};

struct PerplexityResult {
  double perplexity = 0;  // exp(nll / tokens)
  double nll = 0;         // of all scored tokens, added row by row in the rows' order
  int64_t tokens = 0;
  // Of `perplexity`, by the rows' scatter (a row's tokens aren't independent of each other); absent for a single row.
  std::optional<double> standard_error;
  double seconds = 0;
  int64_t computed_tokens = 0;  // what the model computed for it, on all ranks; less when resumed
  std::vector<RowScore> rows;
};

struct PerplexityOptions {
  int64_t batch = 1024;  // tokens in one step; rows share steps
  const std::atomic<bool>* cancel = nullptr;
  // How many of this rank's tokens are done. Never at once from two threads.
  std::function<void(int64_t done, int64_t total)> progress = {};
  Ranks* ranks = nullptr;  // rows are spread over these; null: this process does all
  // Where finished rows are kept, so that an interrupted run goes on where it was; empty: nowhere. A state made from
  // something else (`state_fingerprint` and the rows tell) is refused.
  std::string state_path = {};
  std::string state_fingerprint = {};
};

// How far one model's perplexity lies from another's on the same rows.
struct PerplexityChange {
  double relative = 0;  // exp(L1 - L0) - 1: 0.01 is one per cent worse
  // Its standard error by the scatter of the rows' differences: far below that of either perplexity, because rows that
  // are hard for one model are hard for the other. Absent for a single row.
  std::optional<double> standard_error;
};

// Both have the same rows with the same numbers of tokens.
PerplexityChange CompareScores(std::span<const RowScore> before, std::span<const RowScore> after);

// Scores the rows. The result is the same to the last digit for every batch size, number of threads and number of
// ranks, and every rank gets it. Errors: a row that is longer than the model's context (no result is worse than one
// that silently used something else), logits that aren't numbers, cancellation, a lost rank, a state file.
Result<PerplexityResult> Perplexity(Phi& phi, std::span<const ScoredRow> rows, const PerplexityOptions& options);

// perplexity, nll, tokens and standard_error from the rows' scores.
//
// The perplexity is exp(L), L = sum S_r / sum T_r over R rows. L is a ratio of two sums over independent rows, so
// Var L = R / (R - 1) * sum (S_r - L T_r)^2 / (sum T_r)^2, and by the delta method the standard error of exp(L) is
// exp(L) * sqrt(Var L).
PerplexityResult Summarise(std::span<const RowScore> rows);

}  // namespace phidias
