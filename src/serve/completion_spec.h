#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/prompt_form.h"
#include "engine/sequence.h"
#include "model/tokenizer/tokenizer.h"
#include "serve/api_error.h"
#include "serve/json.h"

namespace phidias::serve {

// What a request is read against. Outlives whatever is made of it.
struct ModelInfo {
  std::vector<std::string> names;  // the first is the one that answers carry
  const Tokenizer* tokenizer = nullptr;
  int64_t vocab_size = 0;
  int64_t context = 0;  // positions that a request may use
  std::vector<int32_t> eos_token_ids;
  SamplingParams sampling;  // where a request says nothing
  bool random_seed = true;  // and no seed: draw one, else sampling.seed
  PromptFormat format = PromptFormat::kQa;
  int64_t lookup = 0;
  int64_t created = 0;  // seconds since 1970
};

struct Prompt {
  std::vector<int32_t> ids;
  std::string text;
};

// A request for /v1/completions or /v1/chat/completions, checked.
struct CompletionSpec {
  bool chat = false;
  std::vector<Prompt> prompts;  // a chat has one
  int64_t n = 1;                // answers to each
  bool stream = false;
  bool include_usage = false;  // as the last piece of a stream
  bool echo = false;           // the prompt's text comes before the answer's
  SequenceOptions options;
  PromptFormat format = PromptFormat::kRaw;  // of a chat
  bool begins_answer = true;                 // false: a chat whose last message is the assistant's, to be continued
};

// Errors name the field. Every prompt fits the context and leaves room for what is asked for: at least one token, or
// none if none is.
Parsed<CompletionSpec> ParseCompletion(const RequestJson& body, bool chat, const ModelInfo& model);

// Whether the request's "model" is served here; absent and "" are.
std::optional<ApiError> CheckModel(const RequestJson& body, const ModelInfo& model);

}  // namespace phidias::serve
