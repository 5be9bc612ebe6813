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

}  // namespace

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
  char load[48];
  std::snprintf(load, sizeof load, "%-11s%.3f s\n", "load", report.load_seconds);
  return StrCat("model      ", report.model, "\n", "backend    ", report.backend, "\n", "sampling   ",
                SamplingText(report.sampling), "\n", load) +
         RateLine("prompt", result.prompt_tokens, result.prompt_seconds, rates.prompt, "") +
         RateLine("generated", generated, result.generate_seconds, rates.generate, " after the first") +
         RateLine("overall", result.prompt_tokens + generated, result.prompt_seconds + result.generate_seconds,
                  rates.overall, ", prompt and generated together") +
         StrCat("finish     ", FinishReasonName(result.finish_reason), ": ", FinishText(result.finish_reason), "\n") +
         SaturationNote(report.saturated);
}

Json SummaryJson(const RunReport& report) {
  const GenerateResult& result = report.result;
  const Rates rates = RatesOf(result);
  const bool sampled = report.sampling.temperature > 0;
  Json json = {{"text", result.text},
               {"ids", result.ids},
               {"prompt_ids", report.prompt_ids},
               {"finish_reason", FinishReasonName(result.finish_reason)},
               {"prompt_tokens", result.prompt_tokens},
               {"generated_tokens", result.ids.size()},
               {"load_seconds", report.load_seconds},
               {"prompt_seconds", result.prompt_seconds},
               {"generate_seconds", result.generate_seconds},
               {"prompt_tokens_per_second", rates.prompt},
               {"generate_tokens_per_second", rates.generate},
               {"tokens_per_second", rates.overall},
               {"temperature", report.sampling.temperature},
               {"seed", sampled ? Json(report.sampling.seed) : Json()},
               {"model", report.model},
               {"backend", report.backend},
               {"saturated", report.saturated}};
  if (!report.card.is_null()) {
    json["card"] = report.card;
  }
  return json;
}

}  // namespace phidias::cli
