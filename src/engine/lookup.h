#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace phidias {

// The largest draft that may be asked for: beyond it a step costs more than it can give (docs/generation.md).
inline constexpr int64_t kMaxLookup = 64;

// Guesses how a text goes on from what it already says (prompt-lookup decoding): finds the longest earlier occurrence
// of the text's end, the latest among equally long ones, and proposes what followed it. Guesses are checked by the
// model, so they only decide how many tokens a step gives, never which.
//
// Texts differ in how much they repeat, so how long a guess is and how long a match it takes follow what was accepted
// so far. The rule was picked by replaying texts (docs/generation.md).
class LookupDrafter {
 public:
  // `max_draft`: tokens of the longest guess, 0 (never guess) to kMaxLookup.
  explicit LookupDrafter(int64_t max_draft);

  // A guess of at most `limit` tokens at what follows `tokens`; empty where nothing matches. Valid until the next call.
  // Takes time proportional to tokens.size(), which attention takes as well.
  std::span<const int32_t> Draft(std::span<const int32_t> tokens, int64_t limit);

  // The text went on with the first `accepted` of the `drafted` tokens of a guess.
  void Report(int64_t drafted, int64_t accepted);

  int64_t drafted() const { return drafted_; }    // tokens of all guesses so far
  int64_t accepted() const { return accepted_; }  // and those of them that were right

 private:
  int64_t max_draft_;
  int64_t length_;     // of the next guess
  int64_t min_match_;  // tokens that have to be equal for one
  int64_t drafted_ = 0;
  int64_t accepted_ = 0;
  std::vector<int32_t> draft_;
};

}  // namespace phidias
