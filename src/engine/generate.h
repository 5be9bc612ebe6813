#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
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
  int64_t batch = 512;       // prompt tokens in one step
  const std::atomic<bool>* cancel = nullptr;
};

struct GenerateResult {
  std::vector<int32_t> ids;  // generated, an eos included
  std::string text;
  FinishReason finish_reason = FinishReason::kNone;
  int64_t prompt_tokens = 0;
  double prompt_seconds = 0;    // until the first token is known
  double generate_seconds = 0;  // the tokens after it
};

// Runs one prompt to its end. `on_text` sees the text as it becomes complete. Cancellation is no error: the result then
// holds what there is, with FinishReason::kCancelled.
Result<GenerateResult> Generate(const LoadedModel& model, std::vector<int32_t> prompt, const GenerateOptions& options,
                                const std::function<void(std::string_view)>& on_text);

}  // namespace phidias
