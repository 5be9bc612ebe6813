#include "cli/summary.h"

#include <algorithm>
#include <cstdio>

namespace phidias::cli {
namespace {

// Rates of a run. The first generated token comes out of the prompt's step, so the time after it belongs to the others.
struct Rates {
  double prompt = 0;
  double generate = 0;
  double overall = 0;  // prompt and generated tokens over the whole time, as papers on accelerators give it
};

Rates RatesOf(const GenerateResult& result) {
  const auto generated = static_cast<int64_t>(result.ids.size());
  return {.prompt = PerSecond(result.prompt_tokens, result.prompt_seconds),
          .generate = PerSecond(std::max<int64_t>(generated - 1, 0), result.generate_seconds),
          .overall = PerSecond(result.prompt_tokens + generated, result.prompt_seconds + result.generate_seconds)};
}

const char* FinishText(FinishReason reason) {
  switch (reason) {
    case FinishReason::kEos: return "the model ended its text";
    case FinishReason::kStopString: return "a stop string appeared";
    case FinishReason::kMaxTokens: return "as many tokens as were asked for (-n)";
    case FinishReason::kContextFull: return "the context is full (-c)";
    case FinishReason::kCancelled: return "interrupted";
    case FinishReason::kNone: break;
  }
  return "unknown";
}

std::string RateLine(const char* label, int64_t tokens, double seconds, double rate, const char* note) {
  char line[160];
  std::snprintf(line, sizeof line, "%-11s%lld tokens in %.3f s (%.1f tokens/s%s)\n", label,
                static_cast<long long>(tokens), seconds, rate, note);
  return line;
}

std::string SamplingText(const SamplingParams& params) {
  if (params.temperature <= 0) {
    return "greedy";
  }
  return StrCat("temp ", params.temperature, ", top-k ", params.top_k, ", top-p ", params.top_p, ", min-p ",
                params.min_p, ", seed ", params.seed);
}

std::string SetupText(const RunSetup& setup) {
  char load[48];
  std::snprintf(load, sizeof load, "%-11s%.3f s\n", "load", setup.load_seconds);
  return StrCat("model      ", setup.model, "\n", "backend    ", setup.backend, "\n", "sampling   ",
                SamplingText(setup.sampling), "\n", load);
}

// A line for guessed tokens, "" where lookup is off.
std::string LookupText(const RunSetup& setup, int64_t drafted, int64_t accepted, int64_t generated) {
  if (setup.lookup == 0) {
    return "";
  }
  if (drafted == 0) {
    return "lookup     nothing guessed: the text didn't repeat itself\n";
  }
  // Every step gives one token besides those accepted.
  char line[160];
  std::snprintf(line, sizeof line, "%-11saccepted %lld of %lld guessed tokens (%.1f %%), %.2f tokens a step\n",
                "lookup", static_cast<long long>(accepted), static_cast<long long>(drafted),
                100.0 * static_cast<double>(accepted) / static_cast<double>(drafted),
                static_cast<double>(generated) / static_cast<double>(std::max<int64_t>(generated - accepted, 1)));
  return line;
}

}  // namespace

void ManyReport::Add(const GenerateResult& result) {
  prompt_tokens += result.prompt_tokens;
  generated_tokens += static_cast<int64_t>(result.ids.size());
  drafted += result.drafted;
  accepted += result.accepted;
}

const char* FinishReasonName(FinishReason reason) {
  switch (reason) {
    case FinishReason::kEos: return "eos";
    case FinishReason::kStopString: return "stop";
    case FinishReason::kMaxTokens: return "length";
    case FinishReason::kContextFull: return "context";
    case FinishReason::kCancelled: return "cancelled";
    case FinishReason::kNone: break;
  }
  return "none";
}

std::string SaturationNote(int64_t saturated) {
  return saturated == 0 ? ""
                        : StrCat("saturated  ", saturated,
                                 " values of the residual stream: the calibration's rows didn't show such large ones; "
                                 "quantise again with more, or use --arith float\n");
}

std::string SummaryText(const RunReport& report) {
  const GenerateResult& result = report.result;
  const auto generated = static_cast<int64_t>(result.ids.size());
  const Rates rates = RatesOf(result);
  return SetupText(report.setup) + RateLine("prompt", result.prompt_tokens, result.prompt_seconds, rates.prompt, "") +
         RateLine("generated", generated, result.generate_seconds, rates.generate, " after the first") +
         RateLine("overall", result.prompt_tokens + generated, result.prompt_seconds + result.generate_seconds,
                  rates.overall, ", prompt and generated together") +
         LookupText(report.setup, result.drafted, result.accepted, generated) +
         StrCat("finish     ", FinishReasonName(result.finish_reason), ": ", FinishText(result.finish_reason), "\n") +
         SaturationNote(report.saturated);
}

std::string SummaryText(const ManyReport& report) {
  char failed[48] = "";
  if (report.failed > 0) {
    std::snprintf(failed, sizeof failed, ", %lld failed", static_cast<long long>(report.failed));
  }
  const int64_t tokens = report.prompt_tokens + report.generated_tokens;
  return SetupText(report.setup) +
         StrCat("prompts    ", report.ended, " of ", report.prompts, failed, ", up to ", report.parallel,
                " at a time\n") +
         RateLine("generated", report.generated_tokens, report.seconds,
                  PerSecond(report.generated_tokens, report.seconds), ", while prompts were read as well") +
         RateLine("overall", tokens, report.seconds, PerSecond(tokens, report.seconds),
                  ", prompt and generated together") +
         LookupText(report.setup, report.drafted, report.accepted, report.generated_tokens) +
         (report.interrupted ? "finish     interrupted\n" : "") + SaturationNote(report.saturated);
}

Json ResultJson(const GenerateResult& result) {
  return {{"text", result.text},
          {"ids", result.ids},
          {"finish_reason", FinishReasonName(result.finish_reason)},
          {"prompt_tokens", result.prompt_tokens},
          {"generated_tokens", result.ids.size()},
          {"drafted_tokens", result.drafted},
          {"accepted_tokens", result.accepted},
          {"prompt_seconds", result.prompt_seconds},
          {"generate_seconds", result.generate_seconds}};
}

Json SummaryJson(const RunReport& report) {
  const Rates rates = RatesOf(report.result);
  const SamplingParams& sampling = report.setup.sampling;
  Json json = ResultJson(report.result);
  json.update({{"prompt_ids", report.prompt_ids},
               {"load_seconds", report.setup.load_seconds},
               {"prompt_tokens_per_second", rates.prompt},
               {"generate_tokens_per_second", rates.generate},
               {"tokens_per_second", rates.overall},
               {"temperature", sampling.temperature},
               {"seed", sampling.temperature > 0 ? Json(sampling.seed) : Json()},
               {"model", report.setup.model},
               {"backend", report.setup.backend},
               {"saturated", report.saturated}});
  return json;
}

}  // namespace phidias::cli
