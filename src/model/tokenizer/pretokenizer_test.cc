// GPT-2's split into words: each alternative of its expression, white space of every kind, and long texts. The expected
// words are what the expression says; that the reference's engine agrees is shown by the goldens of tokenizer_test.cc.

#include "model/tokenizer/pretokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace phidias {
namespace {

using ::testing::ElementsAre;

std::vector<std::string> Words(const std::string& text) {
  static const auto pretokenizer = Pretokenizer::Create();
  EXPECT_TRUE(pretokenizer.ok()) << pretokenizer.status().message();
  Pretokenizer::Walker walker(*pretokenizer);
  std::vector<std::string> words;
  for (size_t at = 0; at < text.size();) {
    const size_t end = walker.WordEnd(text, at);
    if (end <= at) {
      ADD_FAILURE() << "no word at " << at;
      break;
    }
    words.push_back(text.substr(at, end - at));
    at = end;
  }
  return words;
}

TEST(Pretokenizer, LettersNumbersAndTheRest) {
  EXPECT_THAT(Words("Hello, world 123!?"), ElementsAre("Hello", ",", " world", " 123", "!?"));
  EXPECT_THAT(Words("a1b_c"), ElementsAre("a", "1", "b", "_", "c"));
  EXPECT_THAT(Words("\u0663\u0967 \u2167\u00bd"), ElementsAre("\u0663\u0967", " \u2167\u00bd"));
  EXPECT_THAT(Words("e\u0301a"), ElementsAre("e", "\u0301", "a"));  // a combining mark is no letter
  EXPECT_TRUE(Words("").empty());
}

TEST(Pretokenizer, Contractions) {
  EXPECT_THAT(
      Words("I'm he'll we've you're she'd it's can't"),
      ElementsAre("I", "'m", " he", "'ll", " we", "'ve", " you", "'re", " she", "'d", " it", "'s", " can", "'t"));
  EXPECT_THAT(Words("'sx 'S ''s"), ElementsAre("'s", "x", " '", "S", " ''", "s"));
}

TEST(Pretokenizer, ARunOfWhiteSpaceLeavesItsLastCharacterToTheWord) {
  EXPECT_THAT(Words("a  b"), ElementsAre("a", " ", " b"));
  EXPECT_THAT(Words("a \n b"), ElementsAre("a", " \n", " b"));
  EXPECT_THAT(Words("a\n\nb"), ElementsAre("a", "\n", "\n", "b"));
  EXPECT_THAT(Words("a  "), ElementsAre("a", "  "));
  EXPECT_THAT(Words("\r\n\r\n"), ElementsAre("\r\n\r\n"));
}

TEST(Pretokenizer, WhiteSpaceIsUnicodesProperty) {
  for (const char* space : {"\t", "\n", "\v", "\f", "\r", " ", "\u0085", "\u00a0", "\u1680", "\u2000", "\u200a",
                            "\u2028", "\u2029", "\u202f", "\u205f", "\u3000"}) {
    // Two spaces and an exclamation mark: the run gives its last one back, which then stands alone or, being " ",
    // joins.
    const std::string last = space;
    const std::vector<std::string> expected =
        last == " " ? std::vector<std::string>{last, last + "!"} : std::vector<std::string>{last, last, "!"};
    EXPECT_EQ(Words(last + last + "!"), expected) << testing::PrintToString(last);
  }
  for (const char* other :
       {"\x1c", "\x1d", "\x1e", "\x1f", "\u180e", "\u200b", "\u200c", "\u200d", "\u2060", "\ufeff"}) {
    const std::string twice = std::string(other) + other;
    EXPECT_THAT(Words(twice + "!"), ElementsAre(twice + "!")) << testing::PrintToString(twice);
  }
}

TEST(Pretokenizer, LettersAndNumbersThatCameWithUnicode15And16) {
  EXPECT_THAT(Words("\U00031350's"), ElementsAre("\U00031350", "'s"));
  EXPECT_THAT(Words("a\u1c89b"), ElementsAre("a\u1c89b"));
  EXPECT_THAT(Words("1\U0001e4f0"), ElementsAre("1\U0001e4f0"));
}

TEST(Pretokenizer, LongRunsAreOneWord) {
  for (const char* unit : {"a", "\u65e5", "7", "!", "\n", "\u3000"}) {
    std::string text;
    for (int i = 0; i < 1000000; ++i) {
      text += unit;
    }
    EXPECT_EQ(Words(text).size(), 1U) << testing::PrintToString(unit);
  }
}

}  // namespace
}  // namespace phidias
