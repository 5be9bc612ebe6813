// Any bytes as the body of a request for texts (first byte: of which kind): an answer or an error, and an answer
// satisfies what CompletionSpec promises.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "model/tokenizer/tokenizer_test_util.h"
#include "serve/completion_spec.h"
#include "serve/fields.h"

namespace {

using phidias::serve::ApiError;
using phidias::serve::CompletionSpec;
using phidias::serve::ModelInfo;

void Require(bool condition) {
  if (!condition) {
    std::abort();
  }
}

const phidias::Tokenizer& ByteTokenizer() {
  static const auto tokenizer = [] {
    phidias::TokenizerParts parts = phidias::SmallParts();
    parts.added.push_back(phidias::MakeAdded(256, "<|endoftext|>", true));
    return phidias::Tokenizer::FromParts(std::move(parts));
  }();
  return tokenizer.value();
}

void CheckError(const ApiError& error) {
  Require(error.status == 400 || error.status == 404);
  Require(!error.message.empty() && error.message.size() < 3000);
  Require(!phidias::serve::ErrorBody(error).empty());
}

void CheckPromises(const CompletionSpec& spec, const ModelInfo& model) {
  Require(!spec.prompts.empty() && spec.n >= 1);
  Require(spec.prompts.size() * static_cast<size_t>(spec.n) <= 256);
  for (const auto& prompt : spec.prompts) {
    Require(!prompt.ids.empty() && static_cast<int64_t>(prompt.ids.size()) <= model.context);
    for (const int32_t id : prompt.ids) {
      Require(id >= 0 && id < model.vocab_size);
    }
  }
  Require(ValidateSampling(spec.options.sampling).ok());
  Require(spec.options.max_new_tokens >= -1);
  Require(spec.options.logprobs >= -1 && spec.options.logprobs <= 20);
  for (const auto& [id, bias] : spec.options.logit_bias) {
    Require(id >= 0 && id < model.vocab_size && bias >= -100 && bias <= 100);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) {
    return 0;
  }
  const ModelInfo model = {.names = {"m"},
                           .tokenizer = &ByteTokenizer(),
                           .vocab_size = 272,
                           .context = 64,
                           .eos_token_ids = {256},
                           .sampling = {},
                           .random_seed = false};
  const std::string body(reinterpret_cast<const char*>(data + 1), size - 1);
  const auto json = phidias::serve::ParseObject(body);
  if (const auto* const error = std::get_if<ApiError>(&json)) {
    CheckError(*error);
    return 0;
  }
  const auto spec =
      phidias::serve::ParseCompletion(std::get<phidias::serve::RequestJson>(json), data[0] % 2 == 1, model);
  if (const auto* const error = std::get_if<ApiError>(&spec)) {
    CheckError(*error);
  } else {
    CheckPromises(std::get<CompletionSpec>(spec), model);
  }
  return 0;
}
