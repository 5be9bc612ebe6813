#include "engine/lookup.h"

#include <algorithm>

namespace phidias {
namespace {

// Replayed on texts of four kinds with drafted rows that cost 2 to 70 % of a step: guesses from a single equal token
// lose more than they give, and what is right after two rejections in a row has mostly matched six tokens.
constexpr int64_t kFirstLength = 2;
constexpr int64_t kFewestMatching = 2;
constexpr int64_t kMostMatching = 6;
constexpr int64_t kLongestMatch = 8;  // longer ones are not told apart

// Where the longest earlier occurrence of the end of `tokens` ends (one past its last token), the latest among equals;
// 0 if none has `least` tokens.
size_t FindMatch(std::span<const int32_t> tokens, int64_t least) {
  const int32_t* const last = tokens.data() + tokens.size() - 1;
  int64_t longest = least - 1;
  size_t found = 0;
  for (size_t end = tokens.size() - 1; end > 0 && longest < kLongestMatch; --end) {
    const int32_t* const candidate = tokens.data() + end - 1;
    const auto limit = std::min<int64_t>(kLongestMatch, static_cast<int64_t>(end));
    int64_t length = 0;
    while (length < limit && candidate[-length] == last[-length]) {
      ++length;
    }
    if (length > longest) {
      longest = length;
      found = end;
    }
  }
  return found;
}

}  // namespace

LookupDrafter::LookupDrafter(int64_t max_draft)
    : max_draft_(max_draft), length_(std::min(kFirstLength, max_draft)), min_match_(kFewestMatching) {}

std::span<const int32_t> LookupDrafter::Draft(std::span<const int32_t> tokens, int64_t limit) {
  draft_.clear();
  const int64_t length = std::min(length_, limit);
  if (length <= 0 || tokens.empty()) {
    return draft_;
  }
  const size_t from = FindMatch(tokens, min_match_);
  if (from > 0) {
    // A match that reaches into the end is a loop: the guess goes round it.
    for (size_t i = from; i < from + static_cast<size_t>(length); ++i) {
      draft_.push_back(i < tokens.size() ? tokens[i] : draft_[i - tokens.size()]);
    }
  }
  return draft_;
}

void LookupDrafter::Report(int64_t drafted, int64_t accepted) {
  if (drafted == 0) {
    return;
  }
  drafted_ += drafted;
  accepted_ += accepted;
  if (accepted == drafted) {
    length_ = std::min(max_draft_, 2 * length_);
    min_match_ = std::max(kFewestMatching, min_match_ - 1);
  } else if (accepted == 0) {
    length_ = std::max<int64_t>(1, length_ / 2);
    min_match_ = std::min(kMostMatching, min_match_ + 1);
  } else {
    length_ = accepted + 1;
  }
}

}  // namespace phidias
