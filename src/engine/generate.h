#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/status.h"
#include "engine/loaded_model.h"
#include "engine/sequence.h"

namespace phidias {

struct GenerateOptions {
  SequenceOptions sequence;  // eos ids are taken from the model's configuration where this has none
  int64_t context = 0;       // positions of the KV cache; 0: prompt + max_new_tokens, at most the model's own limit
  int64_t batch = 512;       // tokens in one step
  const std::atomic<bool>* cancel = nullptr;
};

struct GenerateResult {
  std::vector<int32_t> ids;  // generated, an eos included
  std::string text;
  FinishReason finish_reason = FinishReason::kNone;
  int64_t prompt_tokens = 0;
  double prompt_seconds = 0;    // until the first token is known
  double generate_seconds = 0;  // the tokens after it
  int64_t drafted = 0;          // tokens that lookup guessed
  int64_t accepted = 0;         // and those that the model chose as well
};

// Runs one prompt to its end. `on_text` sees the text as it becomes complete. Cancellation is no error: the result then
// holds what there is, with FinishReason::kCancelled.
Result<GenerateResult> Generate(const LoadedModel& model, std::vector<int32_t> prompt, const GenerateOptions& options,
                                const std::function<void(std::string_view)>& on_text);

// One of several prompts.
struct GenerateRequest {
  std::vector<int32_t> prompt;
  SequenceOptions sequence;  // as GenerateOptions::sequence
};

struct GenerateManyOptions {
  int64_t parallel = 8;  // prompts in the works at a time
  int64_t context = 0;   // of each prompt, as GenerateOptions::context
  int64_t batch = 512;
  const std::atomic<bool>* cancel = nullptr;
};

// What GenerateMany tells while it runs. `index` is the request's.
struct GenerateSink {
  std::function<void(size_t index, std::string_view text)> on_text;  // may be empty
  // Once for every request that was begun, as they end. An error is this request's alone: a prompt that doesn't fit, no
  // memory for its cache, logits that are not finite.
  std::function<void(size_t index, Result<GenerateResult> result)> on_result;
};

// Runs all requests, up to `parallel` at a time; the others follow in order as those end. Each says what Generate would
// make it say. Cancelled: what was begun is reported as far as it came, the rest isn't.
// Errors: a batch or a number in parallel below 1, and what keeps the model from running at all.
Status GenerateMany(const LoadedModel& model, std::span<const GenerateRequest> requests,
                    const GenerateManyOptions& options, const GenerateSink& sink);

}  // namespace phidias
