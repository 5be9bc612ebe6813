#pragma once

#include <cstdint>
#include <string>

#include "engine/logprobs.h"
#include "model/tokenizer/tokenizer.h"
#include "serve/json.h"

namespace phidias::serve {

// Collects the scores of one choice's tokens in one of OpenAI's two shapes; pieces of a stream take what has come so
// far.
class LogprobJson {
 public:
  LogprobJson(const Tokenizer* tokenizer, bool chat) : tokenizer_(tokenizer), chat_(chat) { Clear(); }

  // A token that comes first, which nothing predicts.
  void AddFirst(int32_t id);
  // `named`: whether alternatives were asked for.
  void Add(const TokenLogprob& score, bool named);
  Json Take();

 private:
  void Clear();
  std::string TokenText(int32_t id) const;
  Json ChatToken(int32_t id, float logprob) const;

  const Tokenizer* tokenizer_;
  bool chat_;
  Json out_;
  int64_t offset_ = 0;  // in characters, of the next token
};

}  // namespace phidias::serve
