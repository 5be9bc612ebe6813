// Byte-pair encoding of words, against a plain implementation that looks at all neighbours before each merge; what a
// broken vocabulary or merge list is told.

#include "model/tokenizer/bpe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>

#include "model/tokenizer/tokenizer_test_util.h"

namespace phidias {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Merges = std::vector<std::pair<std::string, std::string>>;

Result<Bpe> Create(const TokenizerParts& parts) {
  return Bpe::Create(parts.vocab, parts.merges, parts.ignore_merges, parts.source);
}

std::vector<int32_t> Encode(const Bpe& bpe, std::string_view word) {
  Bpe::Scratch scratch;
  std::vector<int32_t> ids;
  bpe.Encode(word, scratch, ids);
  return ids;
}

std::vector<int32_t> EncodeSlowly(const TokenizerParts& parts, std::string_view word) {
  std::map<std::string, int32_t> ids;
  for (size_t id = 0; id < parts.vocab.size(); ++id) {
    ids.emplace(parts.vocab[id], static_cast<int32_t>(id));
  }
  std::map<std::pair<std::string, std::string>, size_t> ranks;
  for (size_t rank = 0; rank < parts.merges.size(); ++rank) {
    ranks[parts.merges[rank]] = rank;
  }
  std::vector<std::string> symbols;
  for (const char byte : word) {
    symbols.emplace_back(ByteLetter(static_cast<uint8_t>(byte)));
  }
  while (true) {
    size_t best_rank = ranks.size();
    size_t best = 0;
    for (size_t i = 0; i + 1 < symbols.size(); ++i) {
      const auto at = ranks.find({symbols[i], symbols[i + 1]});
      if (at != ranks.end() && at->second < best_rank) {
        best_rank = at->second;
        best = i;
      }
    }
    if (best_rank == ranks.size()) {
      break;
    }
    symbols[best] += symbols[best + 1];
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
  std::vector<int32_t> result;
  for (const std::string& symbol : symbols) {
    result.push_back(ids.at(symbol));
  }
  return result;
}

TEST(Bpe, LowestRankThenLeftmost) {
  const auto bpe = Create(SmallParts({{"b", "c"}, {"a", "b"}, {"a", "a"}}));
  ASSERT_TRUE(bpe.ok()) << bpe.status().message();
  EXPECT_THAT(Encode(*bpe, "abc"), ElementsAre('a', 256));
  EXPECT_THAT(Encode(*bpe, "ab"), ElementsAre(257));
  EXPECT_THAT(Encode(*bpe, "aaa"), ElementsAre(258, 'a'));
  EXPECT_THAT(Encode(*bpe, "\xff"), ElementsAre(255));
  EXPECT_TRUE(Encode(*bpe, "").empty());
}

TEST(Bpe, EqualsThePlainAlgorithm) {
  std::mt19937 random(7);
  for (int round = 0; round < 60; ++round) {
    // Merges of what is there already, over three letters; each result is made by one merge only.
    std::vector<std::string> tokens = {"a", "b", "c"};
    Merges merges;
    for (int i = 0; i < 25; ++i) {
      const std::string left = tokens[random() % tokens.size()];
      const std::string right = tokens[random() % tokens.size()];
      if (std::find(tokens.begin(), tokens.end(), left + right) == tokens.end()) {
        tokens.push_back(left + right);
        merges.emplace_back(left, right);
      }
    }
    std::shuffle(merges.begin(), merges.end(), random);
    const TokenizerParts parts = SmallParts(merges);
    const auto bpe = Create(parts);
    ASSERT_TRUE(bpe.ok()) << bpe.status().message();
    for (int i = 0; i < 40; ++i) {
      std::string word;
      for (size_t length = random() % 30; length > 0; --length) {
        word += static_cast<char>('a' + random() % 3);
      }
      ASSERT_EQ(Encode(*bpe, word), EncodeSlowly(parts, word)) << word;
    }
  }
}

TEST(Bpe, APairListedTwiceHasItsLaterRank) {
  TokenizerParts parts = SmallParts({{"a", "b"}, {"b", "c"}});
  parts.merges.emplace_back("a", "b");
  const auto bpe = Create(parts);
  ASSERT_TRUE(bpe.ok()) << bpe.status().message();
  EXPECT_THAT(Encode(*bpe, "abc"), ElementsAre('a', 257));
}

TEST(Bpe, IgnoreMergesTakesWholeWordsFirst) {
  TokenizerParts parts = SmallParts({{"a", "b"}});
  parts.vocab.push_back("xyz");        // 257, which no merge makes
  parts.vocab.push_back("\u0120xyz");  // 258
  parts.ignore_merges = true;
  const auto bpe = Create(parts);
  ASSERT_TRUE(bpe.ok()) << bpe.status().message();
  EXPECT_THAT(Encode(*bpe, "xyz"), ElementsAre(257));
  EXPECT_THAT(Encode(*bpe, " xyz"), ElementsAre(258));
  EXPECT_THAT(Encode(*bpe, "xyzab"), ElementsAre('x', 'y', 'z', 256));
  parts.ignore_merges = false;
  const auto plain = Create(parts);
  ASSERT_TRUE(plain.ok());
  EXPECT_THAT(Encode(*plain, "xyz"), ElementsAre('x', 'y', 'z'));
}

TEST(Bpe, NamesTheMergeThatMakesNoToken) {
  TokenizerParts parts = SmallParts({{"a", "b"}});
  parts.merges.emplace_back("ab", "c");
  EXPECT_THAT(Create(parts).status().message(),
              HasSubstr("small: merge 1 (\"ab\" + \"c\") needs the token \"abc\", which the vocabulary doesn't have"));
  parts.merges.back() = {"a", "zz"};
  EXPECT_THAT(Create(parts).status().message(), HasSubstr("needs the token \"zz\""));
  parts.merges.back() = {"yy", "a"};
  EXPECT_THAT(Create(parts).status().message(), HasSubstr("needs the token \"yy\""));
}

TEST(Bpe, FindsBytesWithoutToken) {
  TokenizerParts parts = SmallParts();
  EXPECT_EQ(Create(parts)->FindUnknownByte("a\nb"), std::string_view::npos);
  parts.vocab['\n'] = "";
  const Result<Bpe> bpe = Create(parts);
  ASSERT_TRUE(bpe.ok()) << bpe.status().message();
  EXPECT_EQ(bpe->FindUnknownByte("ab"), std::string_view::npos);
  EXPECT_EQ(bpe->FindUnknownByte("ab\nc"), 2U);
}

TEST(Bpe, NamesATokenThatIsThereTwice) {
  TokenizerParts parts = SmallParts();
  parts.vocab.push_back("a");
  EXPECT_THAT(Create(parts).status().message(), HasSubstr("the token \"a\" twice, as id 97 and as id 256"));
}

}  // namespace
}  // namespace phidias
