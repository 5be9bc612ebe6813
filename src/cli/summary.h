#pragma once

#include <string>

#include "cli/json.h"
#include "engine/generate.h"

namespace phidias::cli {

// What a run was and how it went, for the summary on stderr and for --json.
struct RunReport {
  std::string model;    // path
  std::string backend;  // "cpu avx512, 2 threads"
  SamplingParams sampling;
  double load_seconds = 0;
  std::vector<int32_t> prompt_ids;
  GenerateResult result;
  int64_t saturated = 0;  // Backend::saturated
  Json card;              // CardJson; null without a card
};

// "eos", "stop", "length", "context", "cancelled".
const char* FinishReasonName(FinishReason reason);

// A line for values that saturated, "" where none did.
std::string SaturationNote(int64_t saturated);

// Several lines, newline at the end.
std::string SummaryText(const RunReport& report);
Json SummaryJson(const RunReport& report);

}  // namespace phidias::cli
