// Guesses from the text itself: against a search that tries every match, longest and latest first; how long a guess is
// and what it takes follow what was accepted.
#include "engine/lookup.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace phidias {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Ids = std::vector<int32_t>;

Ids Draft(LookupDrafter* drafter, const Ids& tokens, int64_t limit = kMaxLookup) {
  const auto draft = drafter->Draft(tokens, limit);
  return {draft.begin(), draft.end()};
}

// A drafter whose next guess has up to `length` tokens after a match of at least 2.
LookupDrafter Confident(int64_t length) {
  LookupDrafter drafter(length);
  for (int i = 0; i < 8; ++i) {
    drafter.Report(1, 1);
  }
  return drafter;
}

TEST(Lookup, TakesWhatFollowedTheLongestMatch) {
  LookupDrafter drafter = Confident(3);
  EXPECT_THAT(Draft(&drafter, {1, 2, 3, 40, 41, 42, 9, 2, 3, 50, 51, 52, 1, 2, 3}), ElementsAre(40, 41, 42));
}

TEST(Lookup, TakesTheLatestOfEquallyLongMatches) {
  LookupDrafter drafter = Confident(2);
  EXPECT_THAT(Draft(&drafter, {2, 3, 40, 41, 7, 2, 3, 50, 51, 8, 2, 3}), ElementsAre(50, 51));
}

TEST(Lookup, GoesRoundALoop) {
  LookupDrafter drafter = Confident(7);
  EXPECT_THAT(Draft(&drafter, {9, 1, 2, 3, 1, 2, 3, 1, 2}), ElementsAre(3, 1, 2, 3, 1, 2, 3));
  EXPECT_THAT(Draft(&drafter, {5, 5, 5}), ElementsAre(5, 5, 5, 5, 5, 5, 5));
}

TEST(Lookup, GuessesNothingWithoutAMatch) {
  LookupDrafter drafter = Confident(4);
  EXPECT_THAT(Draft(&drafter, {}), IsEmpty());
  EXPECT_THAT(Draft(&drafter, {1}), IsEmpty());
  EXPECT_THAT(Draft(&drafter, {1, 2, 3, 4, 5}), IsEmpty());
  EXPECT_THAT(Draft(&drafter, {2, 1, 2}), IsEmpty()) << "one equal token is not enough";
}

TEST(Lookup, KeepsTheLimits) {
  const Ids loop(20, 5);
  LookupDrafter drafter = Confident(8);
  EXPECT_EQ(Draft(&drafter, loop).size(), 8U);
  EXPECT_EQ(Draft(&drafter, loop, 3).size(), 3U);
  EXPECT_THAT(Draft(&drafter, loop, 0), IsEmpty());
  EXPECT_THAT(Draft(&drafter, loop, -5), IsEmpty());
  LookupDrafter off = Confident(0);
  EXPECT_THAT(Draft(&off, loop), IsEmpty());
  LookupDrafter one(1);
  EXPECT_EQ(Draft(&one, loop).size(), 1U);
}

TEST(Lookup, GuessesGrowWithSuccessAndShrinkWithFailure) {
  const Ids loop(20, 5);
  LookupDrafter drafter(16);
  const auto next = [&] { return static_cast<int64_t>(Draft(&drafter, loop).size()); };
  EXPECT_EQ(next(), 2);
  drafter.Report(2, 2);
  EXPECT_EQ(next(), 4);
  drafter.Report(4, 4);
  drafter.Report(8, 8);
  EXPECT_EQ(next(), 16);
  drafter.Report(16, 16);
  EXPECT_EQ(next(), 16);
  drafter.Report(16, 4);
  EXPECT_EQ(next(), 5);
  drafter.Report(5, 0);
  EXPECT_EQ(next(), 2);
  drafter.Report(2, 0);
  drafter.Report(1, 0);
  EXPECT_EQ(next(), 1) << "never nothing: a text may begin to repeat itself";
  drafter.Report(0, 0);
  EXPECT_EQ(next(), 1);
  EXPECT_EQ(drafter.drafted(), 2 + 4 + 8 + 16 + 16 + 5 + 2 + 1);
  EXPECT_EQ(drafter.accepted(), 2 + 4 + 8 + 16 + 4);
}

TEST(Lookup, RejectionsAskForLongerMatches) {
  const Ids three = {1, 2, 3, 40, 41, 7, 1, 2, 3};
  LookupDrafter drafter(4);
  EXPECT_THAT(Draft(&drafter, three), ElementsAre(40, 41));
  drafter.Report(2, 0);
  EXPECT_THAT(Draft(&drafter, three), ElementsAre(40));
  drafter.Report(1, 0);
  EXPECT_THAT(Draft(&drafter, three), IsEmpty());
  drafter.Report(1, 1);  // of a longer match
  EXPECT_THAT(Draft(&drafter, three), ElementsAre(40, 41));
  for (int i = 0; i < 20; ++i) {
    drafter.Report(1, 0);
  }
  EXPECT_THAT(Draft(&drafter, {1, 2, 3, 4, 5, 6, 40, 7, 1, 2, 3, 4, 5, 6}), ElementsAre(40)) << "six always do";
}

// Every match length from 8 down to 2, every place from the last to the first.
Ids DraftSlowly(const Ids& tokens, size_t length) {
  for (size_t match = 8; match >= 2; --match) {
    for (size_t end = tokens.size() - 1; end >= match; --end) {
      if (std::equal(tokens.end() - static_cast<int64_t>(match), tokens.end(),
                     tokens.begin() + static_cast<int64_t>(end - match))) {
        Ids extended = tokens;
        for (size_t i = 0; i < length; ++i) {
          extended.push_back(extended[end + i]);
        }
        return {extended.end() - static_cast<int64_t>(length), extended.end()};
      }
    }
  }
  return {};
}

TEST(Lookup, EqualsTheSlowSearch) {
  std::mt19937 random(7);
  LookupDrafter drafter = Confident(5);
  int64_t guesses = 0;
  for (int round = 0; round < 3000; ++round) {
    Ids tokens(1 + random() % 60);
    const auto letters = static_cast<int32_t>(1 + random() % 5);
    for (int32_t& token : tokens) {
      token = static_cast<int32_t>(random()) & 0x7fffffff;
      token %= letters;
    }
    const Ids want = DraftSlowly(tokens, 5);
    ASSERT_EQ(Draft(&drafter, tokens), want) << ::testing::PrintToString(tokens);
    guesses += want.empty() ? 0 : 1;
  }
  EXPECT_GT(guesses, 1000);
  EXPECT_LT(guesses, 2999);
}

}  // namespace
}  // namespace phidias
