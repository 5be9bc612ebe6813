#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "common/status.h"
#include "engine/logprobs.h"
#include "engine/lookup.h"
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
  uint64_t stream = 0;      // tells sequences apart that share a seed (Sampler)
  LogitBias logit_bias;
  int64_t logprobs = -1;         // 0 or more: score the generated tokens, and name so many of the most probable
  bool prompt_logprobs = false;  // the prompt's as well; then even max_new_tokens 0 computes it
  int64_t lookup = 0;  // tokens that a step may guess ahead (LookupDrafter); the text is the same for every value
};

// One text in the making: its tokens, its KV cache, its sampler, what it has to say. It asks for rows of a step and is
// told their logits; it knows nothing of the model or of other sequences, so any number of them can share a step.
class Sequence {
 public:
  // `vocab_size`: of the model; ids at or above the tokenizer's, or without text, are never sampled.
  // `cache` may hold the first positions of the prompt already, though not the last: what another sequence with the
  // same beginning has left (ReleaseCache). Those positions are not computed again; prompt_logprobs needs all of them.
  // Errors: an empty prompt, a prompt that doesn't fit the cache together with one more token, sampling out of range.
  static Result<Sequence> Create(const Tokenizer& tokenizer, int64_t vocab_size, KvCache cache,
                                 std::vector<int32_t> prompt, SequenceOptions options);

  bool finished() const { return finish_reason_ != FinishReason::kNone; }
  FinishReason finish_reason() const { return finish_reason_; }

  // Rows up to the one that ends the known tokens: more than one while the prompt is read, then one; 0 once finished.
  // Fewer where each of them has logits, which are large.
  int64_t RowsWanted() const;

  // Appends up to `max_rows` rows that this sequence needs next (its prompt in chunks, then one token at a time) and
  // returns how many. The row that ends the known tokens wants logits. After it come the tokens of a guess at what
  // follows, if there is one and room for it; they want logits too. Asking again before Advance gives the same rows.
  int64_t AppendRows(int64_t max_rows, std::vector<StepRow>* rows);

  // The step computed the `count` rows of the last AppendRows. `logits` of those that wanted any, in order, [wanting,
  // vocab_size]. Chooses the next token, and those after it for as long as the guess was right; text that is complete
  // goes to `text`. What a wrong guess left in the cache is overwritten by the rows that follow.
  Status Advance(int64_t count, std::span<const float> logits, std::string* text);

  // What a back end would have to generate by itself to go on with this sequence. None before the prompt is read, and
  // where the host has a part in every token: penalties, biases, logprobs, lookup.
  std::optional<Generation> WantedGeneration() const;
  // The back end computed the last token's position and chose `id`. As Advance, for one token without logits.
  void Take(int32_t id, std::string* text);

  // Ends the sequence from outside, giving out what was held back.
  void Finish(FinishReason reason, std::string* text);

  std::span<const int32_t> tokens() const { return tokens_; }  // prompt and generated
  std::span<const int32_t> generated() const { return std::span(tokens_).subspan(prompt_size_); }
  size_t prompt_size() const { return prompt_size_; }
  const KvCache& cache() const { return cache_; }
  // With options.logprobs: of generated().
  std::span<const TokenLogprob> logprobs() const { return logprobs_; }
  // With options.prompt_logprobs: of the prompt's tokens but the first.
  std::span<const TokenLogprob> prompt_logprobs() const { return prompt_logprobs_; }
  // The cache, whose positions are those of the first length() tokens. The sequence may not be stepped after that.
  KvCache ReleaseCache() { return std::move(cache_); }
  const LookupDrafter& lookup() const { return lookup_; }

 private:
  Sequence(const Tokenizer& tokenizer, int64_t vocab_size, KvCache cache, std::vector<int32_t> prompt,
           SequenceOptions options, std::vector<int32_t> banned);
  bool IsEos(int32_t id) const;
  std::span<const int32_t> Guess(int64_t max_rows);
  bool ScoresPrompt() const { return options_.prompt_logprobs && cache_.length() < static_cast<int64_t>(prompt_size_); }
  Result<int64_t> ScorePrompt(int64_t begin, int64_t count, std::span<const float> logits);
  Status ChooseNext(std::span<const float> logits, std::string* text);
  void Append(int32_t id, std::string* text);

  int64_t vocab_size_;
  KvCache cache_;
  std::vector<int32_t> tokens_;
  size_t prompt_size_;
  SequenceOptions options_;
  std::vector<int32_t> banned_;
  Sampler sampler_;
  LookupDrafter lookup_;
  std::vector<TokenLogprob> prompt_logprobs_;
  std::vector<TokenLogprob> logprobs_;
  std::vector<int32_t> guess_;  // tokens of the rows after the known ones, from AppendRows to Advance
  StreamDecoder decoder_;
  StopMatcher stops_;
  FinishReason finish_reason_ = FinishReason::kNone;
};

}  // namespace phidias
