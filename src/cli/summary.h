#pragma once

#include <string>

#include "cli/json.h"
#include "engine/generate.h"

namespace phidias::cli {

// What a run stood on.
struct RunSetup {
  std::string model;    // path
  std::string backend;  // "cpu avx512, 2 threads"
  SamplingParams sampling;
  int64_t lookup = 0;  // SequenceOptions::lookup
  double load_seconds = 0;
};

// What a run was and how it went, for the summary on stderr and for --json.
struct RunReport {
  RunSetup setup;
  std::vector<int32_t> prompt_ids;
  GenerateResult result;
  int64_t saturated = 0;  // Backend::saturated
};

// The same for a file of prompts.
struct ManyReport {
  RunSetup setup;
  int64_t prompts = 0;   // in the file
  int64_t parallel = 0;  // at a time
  int64_t ended = 0;     // with a result
  int64_t failed = 0;    // with an error
  bool interrupted = false;
  double seconds = 0;
  int64_t prompt_tokens = 0;
  int64_t generated_tokens = 0;
  int64_t drafted = 0;
  int64_t accepted = 0;
  int64_t saturated = 0;

  void Add(const GenerateResult& result);
};

// "eos", "stop", "length", "context", "cancelled".
const char* FinishReasonName(FinishReason reason);

// A line for values that saturated, "" where none did.
std::string SaturationNote(int64_t saturated);

// Several lines, newline at the end.
std::string SummaryText(const RunReport& report);
std::string SummaryText(const ManyReport& report);
Json SummaryJson(const RunReport& report);
// What a prompt came to: text, ids, why it ended, numbers of tokens.
Json ResultJson(const GenerateResult& result);

}  // namespace phidias::cli
