#pragma once

#include <cstddef>
#include <memory>
#include <string_view>

#include "common/status.h"

namespace phidias {

// GPT-2's split of text into words, by its regular expression. Every character belongs to exactly one word, so a piece
// of text is walked word by word. Immutable; shared between threads, each with its own Walker.
class Pretokenizer {
 public:
  static Result<Pretokenizer> Create();

  // Working memory of the regular-expression engine.
  class Walker {
   public:
    explicit Walker(const Pretokenizer& pretokenizer);
    // The end of the word that begins at `at` < piece.size(). `piece` is valid UTF-8 and stands alone: no word looks
    // beyond its ends. 0 if the engine failed (out of memory).
    size_t WordEnd(std::string_view piece, size_t at);

   private:
    struct State;
    struct Free {
      void operator()(State* state) const;
    };
    std::unique_ptr<State, Free> state_;
  };

 private:
  struct Code;
  explicit Pretokenizer(std::shared_ptr<const Code> code) : code_(std::move(code)) {}
  std::shared_ptr<const Code> code_;
};

}  // namespace phidias
