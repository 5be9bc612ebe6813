#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "common/status.h"
#include "engine/sampler.h"
#include "engine/stop_matcher.h"
#include "model/kv_cache.h"
#include "model/tokenizer/tokenizer.h"

namespace phidias {

enum class FinishReason {
  kNone,         // still going
  kEos,          // the model ended its text
  kStopString,   // a stop string appeared
  kMaxTokens,    // as many tokens as were asked for
  kContextFull,  // no position left in the KV cache
  kCancelled,
};

struct SequenceOptions {
  SamplingParams sampling;
  int64_t max_new_tokens = -1;  // -1: until eos, a stop string or the end of the context
  std::vector<std::string> stop;
  std::vector<int32_t> eos_token_ids;
  bool ignore_eos = false;  // eos ids are then never sampled
};

// One text in the making: its tokens, its KV cache, its sampler, what it has to say. It asks for rows of a step and is
// told their logits; it knows nothing of the model or of other sequences, so any number of them can share a step.
class Sequence {
 public:
  // `vocab_size`: of the model; ids at or above the tokenizer's, or without text, are never sampled.
  // Errors: an empty prompt, a prompt that doesn't fit the cache together with one more token, sampling out of range.
  static Result<Sequence> Create(const Tokenizer& tokenizer, int64_t vocab_size, KvCache cache,
                                 std::vector<int32_t> prompt, SequenceOptions options);

  bool finished() const { return finish_reason_ != FinishReason::kNone; }
  FinishReason finish_reason() const { return finish_reason_; }

  // Appends up to `max_rows` rows that this sequence needs next (its prompt in chunks, then one token at a time) and
  // returns how many. The row that ends the known tokens wants logits.
  int64_t AppendRows(int64_t max_rows, std::vector<StepRow>* rows) const;

  // The step computed the `count` rows of the last AppendRows. `logits` of its last row, if that wanted any, else
  // empty. Chooses the next token; text that is complete goes to `text`.
  Status Advance(int64_t count, std::span<const float> logits, std::string* text);

  // Ends the sequence from outside, giving out what was held back.
  void Finish(FinishReason reason, std::string* text);

  std::span<const int32_t> tokens() const { return tokens_; }  // prompt and generated
  std::span<const int32_t> generated() const { return std::span(tokens_).subspan(prompt_size_); }
  size_t prompt_size() const { return prompt_size_; }
  const KvCache& cache() const { return cache_; }

 private:
  Sequence(const Tokenizer& tokenizer, KvCache cache, std::vector<int32_t> prompt, SequenceOptions options,
           std::vector<int32_t> banned);
  bool IsEos(int32_t id) const;

  KvCache cache_;
  std::vector<int32_t> tokens_;
  size_t prompt_size_;
  SequenceOptions options_;
  Sampler sampler_;
  StreamDecoder decoder_;
  StopMatcher stops_;
  FinishReason finish_reason_ = FinishReason::kNone;
};

}  // namespace phidias
