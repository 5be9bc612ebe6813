// Cutting added tokens out of text: the matcher against a plain search, hostile lists of tokens, and the flags, whose
// expected ids were made with Hugging Face tokenizers 0.22.2.

#include "model/tokenizer/added_tokens.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>

#include "model/tokenizer/tokenizer_test_util.h"

namespace phidias {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// "text|<id>|text|..."
std::string Cut(const AddedTokens& added, std::string_view text, bool parse_special = true) {
  std::string out;
  for (const AddedTokens::Piece& piece : added.Cut(text, parse_special)) {
    if (!out.empty()) {
      out += '|';
    }
    out += piece.id >= 0 ? StrCat('<', piece.id, '>') : std::string(piece.text);
  }
  return out;
}

AddedTokens Make(std::vector<AddedToken> tokens) {
  auto added = AddedTokens::Create(std::move(tokens), "test");
  EXPECT_TRUE(added.ok()) << added.status().message();
  return *std::move(added);
}

std::vector<std::pair<size_t, size_t>> FindPlainly(const std::vector<std::string>& tokens, std::string_view text) {
  std::vector<std::pair<size_t, size_t>> found;
  for (size_t at = 0; at < text.size();) {
    size_t longest = 0;
    for (const std::string& token : tokens) {
      if (token.size() > longest && text.substr(at).starts_with(token)) {
        longest = token.size();
      }
    }
    if (longest > 0) {
      found.emplace_back(at, at + longest);
    }
    at += std::max<size_t>(longest, 1);
  }
  return found;
}

TEST(TokenMatcher, EqualsAPlainSearch) {
  std::mt19937 random(3);
  const auto word = [&](size_t max_length) {
    std::string text;
    for (size_t length = 1 + random() % max_length; length > 0; --length) {
      text += static_cast<char>('a' + random() % 2);
    }
    return text;
  };
  for (int round = 0; round < 500; ++round) {
    std::vector<std::string> tokens;
    for (size_t i = 1 + random() % 6; i > 0; --i) {
      const std::string token = word(6);
      if (std::find(tokens.begin(), tokens.end(), token) == tokens.end()) {
        tokens.push_back(token);
      }
    }
    const TokenMatcher matcher(std::vector<std::string_view>(tokens.begin(), tokens.end()));
    const std::string text = word(40);
    std::vector<std::pair<size_t, size_t>> found;
    for (const auto& hit : matcher.Find(text)) {
      EXPECT_EQ(text.substr(hit.begin, hit.end - hit.begin), tokens[hit.token]);
      found.emplace_back(hit.begin, hit.end);
    }
    ASSERT_EQ(found, FindPlainly(tokens, text)) << text << " " << testing::PrintToString(tokens);
  }
}

TEST(TokenMatcher, NoTokens) {
  EXPECT_TRUE(TokenMatcher().Find("abc").empty());
  EXPECT_EQ(Cut(Make({}), "abc"), "abc");
  EXPECT_EQ(Cut(Make({MakeAdded(1, "a")}), ""), "");
}

// Every place begins a token of half a million bytes that fails at its last byte: quadratic if text were read again.
TEST(TokenMatcher, LongTokensThatNearlyMatchTakeLinearTime) {
  const std::string run(500000, 'a');
  const AddedTokens added = Make({MakeAdded(1, run + "b"), MakeAdded(2, "a"), MakeAdded(3, "b" + run)});
  EXPECT_EQ(added.Cut(run + run, true).size(), 2 * run.size());
  EXPECT_THAT(Cut(added, run + "bb" + run), "<1>|<3>");
}

TEST(AddedTokens, RunsOfSpacesAreCutLongestFirst) {
  std::vector<AddedToken> tokens;
  for (int length = 2; length <= 31; ++length) {
    tokens.push_back(MakeAdded(length, std::string(static_cast<size_t>(length), ' '), false, true));
  }
  const AddedTokens added = Make(tokens);
  EXPECT_EQ(Cut(added, std::string(40, ' ')), "<31>|<9>");
  EXPECT_EQ(Cut(added, "a" + std::string(63, ' ') + "b"), "a|<31>|<31>| b");
}

TEST(AddedTokens, SpecialOnesOnlyWhenAskedFor) {
  const AddedTokens added = Make({MakeAdded(1, "<|x|>", true), MakeAdded(2, "|x")});
  EXPECT_EQ(Cut(added, "a<|x|>|x"), "a|<1>|<2>");
  // As in the reference, the special token is still found, and hides what lies within it.
  EXPECT_EQ(Cut(added, "a<|x|>|x", false), "a<|x|>|<2>");
}

TEST(AddedTokens, NormalizedOnesComeSecond) {
  const AddedTokens added =
      Make({MakeAdded(1, "bc"), MakeAdded(2, "abcd", false, true), MakeAdded(3, "a", false, true)});
  EXPECT_EQ(Cut(added, "abcd"), "<3>|<1>|d");
}

TEST(AddedTokens, StripFlagsSwallowWhiteSpace) {
  AddedToken left = MakeAdded(1, "<L>");
  left.lstrip = true;
  AddedToken right = MakeAdded(2, "<R>");
  right.rstrip = true;
  const AddedTokens added = Make({left, right, MakeAdded(3, "\n")});
  EXPECT_EQ(Cut(added, "a \u00a0<L>\u3000b"), "a|<1>|\u3000b");
  EXPECT_EQ(Cut(added, "x<R> \t  y"), "x|<2>|y");
  EXPECT_EQ(Cut(added, "<L> <L>"), "<1>|<1>");
  EXPECT_EQ(Cut(added, "<R>  <L>"), "<2>|<1>");
  EXPECT_EQ(Cut(added, "<R> \nq"), "<2>|<3>|q");  // swallowed and found again, as in the reference
}

TEST(AddedTokens, StripFlagsTakeLinearTime) {
  AddedToken tab = MakeAdded(1, "\t");
  tab.lstrip = tab.rstrip = true;
  const AddedTokens added = Make({tab});
  EXPECT_EQ(added.Cut(std::string(1000000, '\t'), true).size(), 1000000U);
  std::string mixed;
  for (int i = 0; i < 300000; ++i) {
    mixed += "\t ";
  }
  EXPECT_EQ(added.Cut(mixed, true).size(), 300000U);
}

TEST(AddedTokens, SingleWord) {
  AddedToken cat = MakeAdded(1, "cat");
  cat.single_word = true;
  const AddedTokens added = Make({cat});
  EXPECT_EQ(Cut(added, "a cat, cat"), "a |<1>|, |<1>");
  EXPECT_EQ(Cut(added, "concat cats cat_ _cat cat\u0301 cat9 \u65e5cat cat-"),
            "concat cats cat_ _cat cat\u0301 cat9 \u65e5cat |<1>|-");
}

TEST(AddedTokens, TooMuchContentIsRefused) {
  const auto added = AddedTokens::Create({MakeAdded(1, std::string(5000000, 'x'))}, "some.json");
  EXPECT_EQ(added.status().code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(added.status().message(), HasSubstr("some.json: the added tokens' contents have 5000000 bytes"));
}

}  // namespace
}  // namespace phidias
