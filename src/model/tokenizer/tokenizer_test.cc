// The tokenizer as a whole. Oracle: ids from Hugging Face tokenizers, as goldens: tokens.json (300 texts) and
// edge_tokens.json (420 texts: white space of every kind, long runs, borders of special tokens, many scripts; made with
// tokenizers 0.22.2) for Phi-2's vocabulary, demo-golden.json for the demo model's.

#include "model/tokenizer/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <thread>

#include "common/file.h"
#include "common/utf8.h"
#include "model/tokenizer/tokenizer_test_util.h"

namespace phidias {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Ids = std::vector<int32_t>;

const std::string kGolden = std::string(PHIDIAS_SOURCE_DIR) + "/tests/golden";

nlohmann::json ReadJson(const std::string& path) {
  const auto text = ReadFile(path, size_t{1} << 26);
  EXPECT_TRUE(text.ok()) << text.status().message();
  return nlohmann::json::parse(text.ok() ? *text : "null");
}

const Tokenizer& Loaded(const std::string& path) {
  static std::map<std::string, Result<Tokenizer>> loaded;
  auto at = loaded.find(path);
  if (at == loaded.end()) {
    at = loaded.emplace(path, Tokenizer::Load(path)).first;
  }
  EXPECT_TRUE(at->second.ok()) << at->second.status().message();
  return *at->second;
}

const Tokenizer& Phi2() {
  return Loaded(kGolden + "/tokenizer");
}

Ids Encode(const Tokenizer& tokenizer, std::string_view text, bool parse_special = true) {
  auto ids = tokenizer.Encode(text, parse_special);
  EXPECT_TRUE(ids.ok()) << ids.status().message();
  return ids.ok() ? *ids : Ids();
}

Tokenizer Make(TokenizerParts parts) {
  auto tokenizer = Tokenizer::FromParts(std::move(parts));
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  return *std::move(tokenizer);
}

std::string FailureOf(TokenizerParts parts) {
  return Tokenizer::FromParts(std::move(parts)).status().message();
}

class Goldens : public testing::TestWithParam<std::string> {};

TEST_P(Goldens, EncodeEqualsTheReferenceAndDecodeUndoesIt) {
  const Tokenizer& tokenizer = Loaded(kGolden + "/" + GetParam());
  size_t rows = 0;
  for (const char* file : {"tokens.json", "edge_tokens.json"}) {
    for (const auto& row : ReadJson(kGolden + "/tokenizer/" + file)) {
      const auto text = row["text"].get<std::string>();
      const Ids ids = Encode(tokenizer, text);
      EXPECT_EQ(ids, row["ids"].get<Ids>()) << testing::PrintToString(text);
      EXPECT_EQ(tokenizer.Decode(ids, false), text);
      EXPECT_EQ(tokenizer.Decode(Encode(tokenizer, text, false), true), text);
      ++rows;
    }
  }
  EXPECT_EQ(rows, 720U);
}

INSTANTIATE_TEST_SUITE_P(Both, Goldens, testing::Values("tokenizer", "tokenizer/tokenizer.json", "tokenizer-old"),
                         [](const auto& kind) { return "n" + std::to_string(kind.index); });

TEST(Tokenizer, DemoPrompts) {
  const Tokenizer& demo = Loaded(std::string(PHIDIAS_SOURCE_DIR) + "/models/demo");
  const auto golden = ReadJson(kGolden + "/demo-golden.json");
  ASSERT_FALSE(golden["prompts"].empty());
  for (const auto& row : golden["prompts"]) {
    EXPECT_EQ(Encode(demo, row["prompt"].get<std::string>()), row["prompt_ids"].get<Ids>());
    EXPECT_EQ(demo.Decode(row["greedy_ids"].get<Ids>()), row["greedy_text"].get<std::string>());
  }
  EXPECT_EQ(demo.size(), 4096);
  EXPECT_EQ(demo.IdOf("<|endoftext|>"), 0);
  EXPECT_TRUE(demo.IsSpecial(0));
}

TEST(Tokenizer, SpecialTextIsPlainTextUnlessAskedFor) {
  EXPECT_THAT(Encode(Phi2(), "a<|endoftext|>b"), ElementsAre(64, 50256, 65));
  const Ids plain = Encode(Phi2(), "a<|endoftext|>b", false);
  EXPECT_THAT(plain, ElementsAre(64, 27, 91, 437, 1659, 5239, 91, 29, 65));
  // Runs of spaces are added tokens too, but not special ones.
  EXPECT_THAT(Encode(Phi2(), "a  <|endoftext|>", false), ElementsAre(64, 50286, 27, 91, 437, 1659, 5239, 91, 29));
}

TEST(Tokenizer, RefusesInvalidUtf8WithItsPosition) {
  for (const auto& [text, at] : std::vector<std::pair<std::string, int>>{
           {"abc\xff", 3}, {"\xc0\x80", 0}, {"a\xed\xa0\x80", 1}, {"\u65e5\xe6\x97", 3}}) {
    const auto ids = Phi2().Encode(text);
    EXPECT_EQ(ids.status().code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(ids.status().message(), HasSubstr("byte " + std::to_string(at) + " "));
  }
}

TEST(Tokenizer, IdsAndTheirTexts) {
  EXPECT_EQ(Phi2().size(), 50295);
  EXPECT_EQ(Phi2().TokenBytes(15496), "Hello");
  EXPECT_EQ(Phi2().TokenBytes(995), " world");
  EXPECT_EQ(Phi2().TokenBytes(50257), std::string(31, ' '));
  EXPECT_EQ(Phi2().TokenBytes(447), "\xe2\x80");
  EXPECT_EQ(Phi2().IdOf(" world"), 995);
  EXPECT_EQ(Phi2().IdOf("<|endoftext|>"), 50256);
  EXPECT_EQ(Phi2().IdOf("no such token"), -1);
  EXPECT_EQ(Phi2().IdOf(""), -1);
  EXPECT_TRUE(Phi2().IsSpecial(50256));
  EXPECT_FALSE(Phi2().IsSpecial(50257));
  EXPECT_TRUE(Phi2().HasText(50294));
  for (const int32_t id : {-1, 50295, 51199, 51200, INT32_MAX, INT32_MIN}) {
    EXPECT_FALSE(Phi2().HasText(id)) << id;
    EXPECT_FALSE(Phi2().IsSpecial(id)) << id;
    EXPECT_EQ(Phi2().TokenBytes(id), "") << id;
  }
}

TEST(Tokenizer, DecodeReplacesWhatIsNoUtf8AndSkipsWhatHasNoText) {
  EXPECT_EQ(Phi2().Decode(Ids{447, 447}), "\ufffd\ufffd");
  EXPECT_EQ(Phi2().Decode(Ids{15496, 51000, -5, 995}), "Hello world");
  EXPECT_EQ(Phi2().Decode(Ids{15496, 50256, 995}, true), "Hello world");
  EXPECT_EQ(Phi2().Decode(Ids{15496, 50256, 995}, false), "Hello<|endoftext|> world");
  EXPECT_EQ(Phi2().Decode(Ids{}), "");
}

TEST(Tokenizer, AddedTokensDecodeToTheirContentEvenInLetters) {
  // U+00E9 is the letter of byte 0xE9, U+0120 that of a space; in an added token they are themselves.
  TokenizerParts parts = SmallParts();
  parts.added = {MakeAdded(256, "\u00e9\u00e9"), MakeAdded(300, "\u0120\u0120")};
  const Tokenizer tokenizer = Make(parts);
  EXPECT_EQ(tokenizer.Decode(Encode(tokenizer, "a\u00e9\u00e9\u0120\u0120b")), "a\u00e9\u00e9\u0120\u0120b");
  EXPECT_THAT(Encode(tokenizer, "\u00e9\u00e9"), ElementsAre(256));
  EXPECT_EQ(tokenizer.size(), 301);
  EXPECT_FALSE(tokenizer.HasText(299));
  EXPECT_EQ(tokenizer.IdOf("\u00e9\u00e9"), 256);
  EXPECT_EQ(tokenizer.IdOf(" "), ' ');
}

TEST(Tokenizer, StreamingEqualsDecode) {
  std::mt19937 random(1);
  for (int round = 0; round < 3000; ++round) {
    Ids ids;
    for (size_t i = random() % 12; i > 0; --i) {
      const uint32_t kind = static_cast<uint32_t>(random() % 8);
      ids.push_back(static_cast<int32_t>(kind < 5   ? 94 + random() % 162  // a lone byte
                                         : kind < 6 ? 50250 + random() % 60
                                                    : random() % 51200));
    }
    for (const bool skip : {true, false}) {
      StreamDecoder stream(Phi2(), skip);
      std::string text;
      for (const int32_t id : ids) {
        const std::string part = stream.Push(id);
        EXPECT_EQ(FindInvalidUtf8(part), std::string_view::npos);
        text += part;
      }
      text += stream.Finish();
      ASSERT_EQ(text, Phi2().Decode(ids, skip)) << testing::PrintToString(ids);
      EXPECT_EQ(stream.Finish(), "");
    }
  }
}

TEST(Tokenizer, StreamingHoldsBackHalfACharacter) {
  const Ids ids = Encode(Phi2(), "\U0001f642");
  ASSERT_EQ(ids.size(), 2U);
  StreamDecoder stream(Phi2());
  EXPECT_EQ(stream.Push(ids[0]), "");
  EXPECT_EQ(stream.Push(ids[1]), "\U0001f642");
  EXPECT_EQ(stream.Push(ids[0]), "");
  EXPECT_EQ(stream.Finish(), "\ufffd");
}

// A quadratic step would take minutes for each of these; the bound is generous for sanitizers and busy machines.
TEST(Tokenizer, LongTextsTakeLinearTime) {
  for (const std::string unit :
       {"a", " ", "\n", "\t", "ab", "'", "\u65e5", "<|endoftext|>", "<|endoftext|", "a ", " \n"}) {
    std::string text;
    while (text.size() < 1000000) {
      text += unit;
    }
    const auto start = std::chrono::steady_clock::now();
    const Ids ids = Encode(Phi2(), text);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    EXPECT_LT(took.count(), 15.0) << testing::PrintToString(unit);
    EXPECT_EQ(Phi2().Decode(ids, false), text);
  }
}

TEST(Tokenizer, OneTokenizerServesManyThreads) {
  const auto rows = ReadJson(kGolden + "/tokenizer/tokens.json");
  const Tokenizer& tokenizer = Phi2();  // loaded before there are threads
  std::vector<int> wrong(4);
  std::vector<std::thread> threads;
  for (int& count : wrong) {
    threads.emplace_back([&rows, &tokenizer, &count] {
      for (const auto& row : rows) {
        const auto ids = tokenizer.Encode(row["text"].get_ref<const std::string&>());
        count += !ids.ok() || *ids != row["ids"].get<Ids>();
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_THAT(wrong, ElementsAre(0, 0, 0, 0));
}

TEST(Tokenizer, RefusesAddedTokensThatContradict) {
  TokenizerParts parts = SmallParts();
  parts.added = {MakeAdded(256, "x1"), MakeAdded(257, "x1")};
  EXPECT_THAT(FailureOf(parts), HasSubstr("\"x1\" with id 257 contradicts \"x1\" with id 256"));
  parts.added = {MakeAdded(256, "x1"), MakeAdded(256, "x2")};
  EXPECT_THAT(FailureOf(parts), HasSubstr("\"x2\" with id 256 contradicts \"x1\" with id 256"));
  parts.added = {MakeAdded('a', "x1")};
  EXPECT_THAT(FailureOf(parts), HasSubstr("id 97 is the added token \"x1\" but the vocabulary has \"a\" there"));
  parts.added = {MakeAdded(256, "a")};
  EXPECT_THAT(FailureOf(parts), HasSubstr("\"a\" has the id 256 but the vocabulary has it as 97"));
  parts.added = {MakeAdded(-1, "x1")};
  EXPECT_THAT(FailureOf(parts), HasSubstr("\"x1\" has the id -1; ids go from 0 to 1048575"));
  parts.added = {MakeAdded(kMaxTokenIds, "x1")};
  EXPECT_THAT(FailureOf(parts), HasSubstr("has the id 1048576"));
  parts.added = {MakeAdded(256, "x\xff")};
  EXPECT_THAT(FailureOf(parts), HasSubstr("\"x\\xff\", isn't valid UTF-8"));
  // The same thing twice contradicts nothing, and an empty content is no token.
  parts.added = {MakeAdded(256, "x1"), MakeAdded(256, "x1"), MakeAdded(300, "")};
  EXPECT_EQ(Make(parts).size(), 257);
}

TEST(Tokenizer, RefusesAHugeVocabulary) {
  TokenizerParts parts = SmallParts();
  parts.vocab.resize(static_cast<size_t>(kMaxTokenIds) + 1);
  EXPECT_THAT(FailureOf(parts), HasSubstr("small: the vocabulary has 1048577 ids; at most 1048576"));
}

TEST(Tokenizer, AByteThatTheVocabularyLacksIsNamedWhenItComes) {
  TokenizerParts parts = SmallParts();
  parts.vocab['x'] = "";
  const auto tokenizer = Tokenizer::FromParts(std::move(parts));
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  EXPECT_TRUE(tokenizer->Encode("abc").ok());
  EXPECT_THAT(tokenizer->Encode("abcxd").status().message(), testing::HasSubstr("no token for \"x\", byte 3"));
}

}  // namespace
}  // namespace phidias
