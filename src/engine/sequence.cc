#include "engine/sequence.h"

#include <algorithm>
#include <utility>

namespace phidias {
namespace {

// Of one sequence in one step, while it scores its prompt: each row has logits (200 kB in Phi-2).
constexpr int64_t kMaxScoredRows = 64;

// Ids that have a row in the embedding but no text (Phi-2: 50295..51199), and eos where it is to be ignored.
std::vector<int32_t> BannedIds(const Tokenizer& tokenizer, int64_t vocab_size, const SequenceOptions& options) {
  std::vector<int32_t> banned;
  for (int32_t id = 0; id < vocab_size; ++id) {
    if (!tokenizer.HasText(id)) {
      banned.push_back(id);
    }
  }
  if (options.ignore_eos) {
    banned.insert(banned.end(), options.eos_token_ids.begin(), options.eos_token_ids.end());
  }
  std::sort(banned.begin(), banned.end());
  banned.erase(std::unique(banned.begin(), banned.end()), banned.end());
  return banned;
}

}  // namespace

Result<Sequence> Sequence::Create(const Tokenizer& tokenizer, int64_t vocab_size, KvCache cache,
                                  std::vector<int32_t> prompt, SequenceOptions options) {
  RETURN_IF_ERROR(ValidateSampling(options.sampling));
  if (options.max_new_tokens < -1) {
    return InvalidArgument("number of tokens to generate is ", options.max_new_tokens,
                           ": must be -1 (no limit) or more");
  }
  if (options.lookup < 0 || options.lookup > kMaxLookup) {
    return InvalidArgument("lookup of ", options.lookup, " tokens: must be 0 (off) to ", kMaxLookup);
  }
  if (prompt.empty()) {
    return InvalidArgument("the prompt is empty: give at least one token of text to continue");
  }
  const auto size = static_cast<int64_t>(prompt.size());
  if (size > cache.capacity()) {
    return ResourceExhausted("the prompt has ", size, " tokens, the context has room for ", cache.capacity(),
                             ": shorten the prompt, or raise the context (-c) if the model allows more");
  }
  if (cache.length() >= size || (options.prompt_logprobs && cache.length() > 0)) {
    return InvalidArgument("the cache holds ", cache.length(), " positions already; a prompt of ", size,
                           " tokens takes ", options.prompt_logprobs ? 0 : size - 1, " at most");
  }
  for (const auto& [id, bias] : options.logit_bias) {
    if (id < 0 || id >= vocab_size || !(bias >= -100 && bias <= 100)) {
      return InvalidArgument("logit bias ", bias, " for token ", id, ": ids are 0 to ", vocab_size - 1,
                             ", a bias is in [-100, 100]");
    }
  }
  for (const int32_t id : prompt) {
    if (id < 0 || id >= vocab_size) {
      return InvalidArgument("token id ", id, " in the prompt is outside the model's vocabulary of ", vocab_size,
                             ": do the tokenizer and the model belong together?");
    }
  }
  std::vector<int32_t> banned = BannedIds(tokenizer, vocab_size, options);
  return Sequence(tokenizer, vocab_size, std::move(cache), std::move(prompt), std::move(options), std::move(banned));
}

Sequence::Sequence(const Tokenizer& tokenizer, int64_t vocab_size, KvCache cache, std::vector<int32_t> prompt,
                   SequenceOptions options, std::vector<int32_t> banned)
    : vocab_size_(vocab_size),
      cache_(std::move(cache)),
      tokens_(std::move(prompt)),
      prompt_size_(tokens_.size()),
      options_(std::move(options)),
      banned_(std::move(banned)),
      sampler_(options_.sampling, banned_, options_.stream, options_.logit_bias),
      lookup_(options_.lookup),
      decoder_(tokenizer),
      stops_(options_.stop) {
  if (options_.max_new_tokens == 0 && !options_.prompt_logprobs) {
    finish_reason_ = FinishReason::kMaxTokens;
  }
}

int64_t Sequence::RowsWanted() const {
  const int64_t wanted = finished() ? 0 : static_cast<int64_t>(tokens_.size()) - cache_.length();
  return ScoresPrompt() ? std::min(wanted, kMaxScoredRows) : wanted;
}

// At most as many tokens as the step has rows left, as the cache has positions, and as may still be generated after the
// one that the step gives anyway.
std::span<const int32_t> Sequence::Guess(int64_t max_rows) {
  const auto known = static_cast<int64_t>(tokens_.size());
  int64_t limit = std::min(max_rows, cache_.capacity() - known);
  if (options_.max_new_tokens >= 0) {
    limit = std::min(limit, options_.max_new_tokens - static_cast<int64_t>(generated().size()) - 1);
  }
  return lookup_.Draft(tokens_, limit);
}

int64_t Sequence::AppendRows(int64_t max_rows, std::vector<StepRow>* rows) {
  guess_.clear();
  if (finished()) {
    return 0;
  }
  const auto append = [&](int32_t token, int64_t pos, bool wants_logits) {
    rows->push_back(
        {.token = token, .pos = static_cast<int32_t>(pos), .kv = cache_.store(), .wants_logits = wants_logits});
  };
  const auto known = static_cast<int64_t>(tokens_.size());
  const int64_t begin = cache_.length();
  int64_t end = begin + std::min(RowsWanted(), max_rows);
  const bool scores = ScoresPrompt();
  for (int64_t pos = begin; pos < end; ++pos) {
    append(tokens_[static_cast<size_t>(pos)], pos, scores || pos + 1 == known);
  }
  if (end == known && !scores) {
    for (const int32_t token : Guess(max_rows - (end - begin))) {
      guess_.push_back(token);
      append(token, end++, true);
    }
  }
  return end - begin;
}

bool Sequence::IsEos(int32_t id) const {
  return std::find(options_.eos_token_ids.begin(), options_.eos_token_ids.end(), id) != options_.eos_token_ids.end();
}

Status Sequence::Advance(int64_t count, std::span<const float> logits, std::string* text) {
  const auto guessed = static_cast<int64_t>(guess_.size());
  const int64_t begin = cache_.length();
  const bool scores = ScoresPrompt();
  cache_.Advance(count - guessed);
  if (scores) {
    ASSIGN_OR_RETURN(const int64_t scored, ScorePrompt(begin, count, logits));
    logits = logits.subspan(static_cast<size_t>(scored * vocab_size_));
    if (!logits.empty() && options_.max_new_tokens == 0) {
      Finish(FinishReason::kMaxTokens, text);
      return {};
    }
  }
  if (logits.empty()) {
    return {};
  }
  int64_t right = 0;
  while (true) {
    const auto row = logits.subspan(static_cast<size_t>(right * vocab_size_), static_cast<size_t>(vocab_size_));
    RETURN_IF_ERROR(ChooseNext(row, text));
    if (right == guessed || tokens_.back() != guess_[static_cast<size_t>(right)]) {
      break;
    }
    ++right;
    if (finished()) {
      break;
    }
  }
  cache_.Advance(right);
  lookup_.Report(guessed, right);
  return {};
}

// Scores the prompt's tokens after positions begin..begin + count - 1; returns how many there are.
Result<int64_t> Sequence::ScorePrompt(int64_t begin, int64_t count, std::span<const float> logits) {
  const int64_t scored = std::min(count, static_cast<int64_t>(prompt_size_) - 1 - begin);
  for (int64_t i = 0; i < scored; ++i) {
    const auto row = logits.subspan(static_cast<size_t>(i * vocab_size_), static_cast<size_t>(vocab_size_));
    const int32_t next = tokens_[static_cast<size_t>(begin + i + 1)];
    ASSIGN_OR_RETURN(TokenLogprob score, ScoreToken(row, next, options_.logprobs, banned_));
    prompt_logprobs_.push_back(std::move(score));
  }
  return scored;
}

// One more token, from the logits of the position before it.
Status Sequence::ChooseNext(std::span<const float> logits, std::string* text) {
  const auto position = static_cast<int64_t>(tokens_.size());
  ASSIGN_OR_RETURN(const int32_t id, sampler_.Sample(logits, tokens_, position));
  if (options_.logprobs >= 0) {
    ASSIGN_OR_RETURN(TokenLogprob score, ScoreToken(logits, id, options_.logprobs, banned_));
    logprobs_.push_back(std::move(score));
  }
  Append(id, text);
  return {};
}

void Sequence::Append(int32_t id, std::string* text) {
  tokens_.push_back(id);
  if (IsEos(id)) {
    Finish(FinishReason::kEos, text);
    return;
  }
  *text += stops_.Push(decoder_.Push(id));
  if (stops_.stopped()) {
    finish_reason_ = FinishReason::kStopString;
  } else if (static_cast<int64_t>(generated().size()) == options_.max_new_tokens) {
    Finish(FinishReason::kMaxTokens, text);
  } else if (static_cast<int64_t>(tokens_.size()) > cache_.capacity()) {
    Finish(FinishReason::kContextFull, text);
  }
}

std::optional<Generation> Sequence::WantedGeneration() const {
  if (finished() || RowsWanted() != 1 || generated().empty() || !options_.sampling.UsesLogitsAlone() ||
      !options_.logit_bias.empty() || options_.logprobs >= 0 || options_.lookup > 0) {
    return std::nullopt;
  }
  const int64_t position = cache_.length();
  int64_t count = cache_.capacity() - position;
  if (options_.max_new_tokens >= 0) {
    count = std::min(count, options_.max_new_tokens - static_cast<int64_t>(generated().size()));
  }
  return Generation{.first = {.token = tokens_.back(),
                              .pos = static_cast<int32_t>(position),
                              .kv = cache_.store(),
                              .wants_logits = true},
                    .count = count,
                    .ends = options_.eos_token_ids,
                    .banned = banned_,
                    .rule = RuleOf(options_.sampling),
                    .key = {.seed = options_.sampling.seed, .stream = options_.stream}};
}

void Sequence::Take(int32_t id, std::string* text) {
  cache_.Advance(1);
  Append(id, text);
}

void Sequence::Finish(FinishReason reason, std::string* text) {
  if (finished()) {
    return;
  }
  finish_reason_ = reason;
  *text += stops_.Push(decoder_.Finish());
  *text += stops_.Finish();
}

}  // namespace phidias
