// Stop strings found across piece borders: every way of cutting a text into pieces gives the same output.
#include "engine/stop_matcher.h"

#include <gtest/gtest.h>

namespace phidias {
namespace {

struct Outcome {
  std::string shown;
  bool stopped;
  bool operator==(const Outcome&) const = default;
};

Outcome RunPieces(const std::string& text, const std::vector<std::string>& stops, uint32_t cuts) {
  StopMatcher matcher(stops);
  Outcome out;
  size_t begin = 0;
  for (size_t i = 1; i <= text.size(); ++i) {
    if (i == text.size() || ((cuts >> (i % 32)) & 1u) != 0) {
      out.shown += matcher.Push(text.substr(begin, i - begin));
      begin = i;
    }
  }
  out.shown += matcher.Finish();
  out.stopped = matcher.stopped();
  return out;
}

TEST(StopMatcher, EveryCutGivesTheSame) {
  const struct {
    std::string text;
    std::vector<std::string> stops;
    Outcome want;
  } cases[] = {
      {"Hello\nBob: hi", {"\nBob:"}, {"Hello", true}},
      {"Hello\nBoa: hi", {"\nBob:"}, {"Hello\nBoa: hi", false}},
      {"aaab", {"aab"}, {"a", true}},
      {"ababab", {"abac", "babab"}, {"a", true}},
      {"xENDyEND", {"END"}, {"x", true}},
      {"no stop", {}, {"no stop", false}},
      {"empty is ignored", {""}, {"empty is ignored", false}},
      {"ends with EN", {"END"}, {"ends with EN", false}},
      {"END", {"END"}, {"", true}},
      {"first of two: B then A", {"A", "B"}, {"first of two: ", true}},
  };
  for (const auto& test : cases) {
    for (uint32_t cuts : {0xffffffffu, 0u, 0x55555555u, 0x12492492u, 0xdeadbeefu}) {
      EXPECT_EQ(RunPieces(test.text, test.stops, cuts), test.want) << test.text << " " << cuts;
    }
  }
}

TEST(StopMatcher, ShowsWhatCanNoLongerBecomeAStop) {
  StopMatcher matcher({"\nBob:"});
  EXPECT_EQ(matcher.Push("Hi\nB"), "Hi");
  EXPECT_EQ(matcher.Push("a"), "\nBa");
  EXPECT_EQ(matcher.Push("\nBob"), "");
  EXPECT_EQ(matcher.Push(": x"), "");
  EXPECT_TRUE(matcher.stopped());
  EXPECT_EQ(matcher.Push("more"), "");
  EXPECT_EQ(matcher.Finish(), "");
}

}  // namespace
}  // namespace phidias
