// Readers of tokenizer files: what each accepts, and that what it doesn't is refused with the file, the field and the
// value in the message.

#include "model/tokenizer/tokenizer_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "common/file.h"
#include "model/tokenizer/tokenizer_test_util.h"

namespace phidias {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using Json = nlohmann::json;

// A small tokenizer.json: 256 bytes and " a" (256), "ab" (257).
Json SmallJson() {
  Json vocab;
  for (unsigned byte = 0; byte < 256; ++byte) {
    vocab[std::string(ByteLetter(static_cast<uint8_t>(byte)))] = byte;
  }
  vocab["\u0120a"] = 256;
  vocab["ab"] = 257;
  // Lists are made with array(): braces of pairs of strings would be taken for objects.
  const Json end_of_text = {{"id", 258}, {"content", "<|endoftext|>"}, {"special", true}, {"normalized", false}};
  const Json merges = Json::array({Json::array({"\u0120", "a"}), Json::array({"a", "b"})});
  Json json;
  json["added_tokens"] = Json::array({end_of_text});
  json["normalizer"] = nullptr;
  json["pre_tokenizer"] = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}};
  json["decoder"]["type"] = "ByteLevel";
  json["model"] = {{"type", "BPE"}, {"vocab", vocab}, {"merges", merges}};
  return json;
}

Result<Tokenizer> Load(const Json& json) {
  auto parts = ParseTokenizerJson(json.dump(), "t.json");
  return parts.ok() ? Tokenizer::FromParts(*std::move(parts)) : Result<Tokenizer>(parts.status());
}

std::vector<int32_t> Encode(const Json& json, std::string_view text) {
  const auto tokenizer = Load(json);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  return tokenizer.ok() ? *tokenizer->Encode(text) : std::vector<int32_t>();
}

const std::vector<int32_t> kExpected = {256, 257, 258, '!'};  // of " aab<|endoftext|>!"
constexpr const char* kText = " aab<|endoftext|>!";

Json With(const char* pointer, Json value) {
  Json json = SmallJson();
  json[Json::json_pointer(pointer)] = std::move(value);
  return json;
}

void ExpectRefused(const Json& json, StatusCode code, const std::string& message) {
  const Status status = Load(json).status();
  EXPECT_EQ(status.code(), code) << message;
  EXPECT_THAT(status.message(), AllOf(StartsWith("t.json: "), HasSubstr(message)));
}

TEST(TokenizerJson, AcceptsWhatMeansTheSame) {
  EXPECT_EQ(Encode(SmallJson(), " aab<|endoftext|>!"), (std::vector<int32_t>{256, 257, 258, '!'}));
  const Json byte_level = SmallJson()["pre_tokenizer"];
  Json no_regex = byte_level;
  no_regex["use_regex"] = false;
  Json split = {
      {"type", "Split"},
      {"pattern", {{"Regex", R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)"}}},
      {"behavior", "Isolated"},
      {"invert", false}};
  const Json same[] = {
      With("/model/merges", Json::array({"#version: 0.2", "\u0120 a", "a b"})),
      With("/pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", Json::array({byte_level})}}),
      With("/pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", Json::array({split, no_regex})}}),
      With("/normalizer", {{"type", "Sequence"}, {"normalizers", Json::array()}}),
      With("/post_processor", {{"type", "ByteLevel"}, {"trim_offsets", false}}),
      With("/model/unk_token", "<|endoftext|>"),
      With("/model/dropout", 0.0),
      With("/model/continuing_subword_prefix", ""),
      With("/model/ignore_merges", false),
      With("/truncation", {{"max_length", 3}}),
      With("/decoder", nullptr),
  };
  for (const Json& json : same) {
    EXPECT_EQ(Encode(json, kText), kExpected);
  }
}

TEST(TokenizerJson, HolesInTheVocabularyHaveNoText) {
  const auto tokenizer = Load(With("/model/vocab/zz", 270));
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  EXPECT_EQ(tokenizer->size(), 271);
  EXPECT_FALSE(tokenizer->HasText(269));
  EXPECT_TRUE(tokenizer->HasText(270));
}

TEST(TokenizerJson, IgnoreMerges) {
  Json json = With("/model/ignore_merges", true);
  json["model"]["vocab"]["xyz"] = 300;
  EXPECT_EQ(Encode(json, "xyz"), std::vector<int32_t>{300});
}

TEST(TokenizerJson, NamesTheFeatureThatDoesntRun) {
  constexpr auto kUnsupported = StatusCode::kUnsupported;
  ExpectRefused(With("/model/type", "Unigram"), kUnsupported, "model.type is \"Unigram\"");
  ExpectRefused(With("/model/dropout", 0.1), kUnsupported, "model.dropout is 0.1");
  ExpectRefused(With("/model/byte_fallback", true), kUnsupported, "model.byte_fallback is true");
  ExpectRefused(With("/model/continuing_subword_prefix", "##"), kUnsupported,
                "model.continuing_subword_prefix is \"##\"");
  ExpectRefused(With("/model/end_of_word_suffix", "</w>"), kUnsupported, "model.end_of_word_suffix is \"</w>\"");
  ExpectRefused(With("/normalizer", {{"type", "NFC"}}), kUnsupported, "normalizer.type is \"NFC\"");
  ExpectRefused(With("/normalizer", {{"type", "Sequence"}, {"normalizers", Json::array({{{"type", "Lowercase"}}})}}),
                kUnsupported, "normalizer.type is \"Lowercase\"");
  ExpectRefused(With("/pre_tokenizer", nullptr), kUnsupported, "pre_tokenizer has 0 parts");
  ExpectRefused(With("/pre_tokenizer/type", "Whitespace"), kUnsupported, "pre_tokenizer.type is \"Whitespace\"");
  ExpectRefused(With("/pre_tokenizer/add_prefix_space", true), kUnsupported, "pre_tokenizer.add_prefix_space is true");
  ExpectRefused(With("/pre_tokenizer/add_prefix_space", nullptr), kUnsupported, "add_prefix_space is null");
  ExpectRefused(With("/pre_tokenizer/use_regex", false), kUnsupported, "pre_tokenizer.use_regex is false");
  ExpectRefused(With("/post_processor", {{"type", "TemplateProcessing"}}), kUnsupported,
                "post_processor.type is \"TemplateProcessing\"");
  ExpectRefused(With("/decoder", {{"type", "Metaspace"}}), kUnsupported, "decoder.type is \"Metaspace\"");
}

TEST(TokenizerJson, NamesASplitThatIsntGpt2s) {
  const Json byte_level = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}};
  Json split = {{"type", "Split"}, {"pattern", {{"Regex", "\\w+"}}}, {"behavior", "Isolated"}};
  const auto sequence = [&] {
    return With("/pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", Json::array({split, byte_level})}});
  };
  ExpectRefused(sequence(), StatusCode::kUnsupported, "pre_tokenizer.pattern is \"\\\\w+\"");
  split["pattern"]["Regex"] = R"('(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
  EXPECT_EQ(Encode(sequence(), kText), kExpected);
  split["behavior"] = "Removed";
  ExpectRefused(sequence(), StatusCode::kUnsupported, "pre_tokenizer.behavior is \"Removed\"");
  split["behavior"] = "Isolated";
  split["invert"] = true;
  ExpectRefused(sequence(), StatusCode::kUnsupported, "pre_tokenizer.invert is true");
}

TEST(TokenizerJson, NamesTheFieldThatIsBroken) {
  constexpr auto kData = StatusCode::kDataError;
  ExpectRefused(With("/model", nullptr), kData, "model is null");
  ExpectRefused(With("/model/vocab", 5), kData, "model.vocab is 5");
  ExpectRefused(With("/model/vocab/zz", -1), kData, "the id of \"zz\" in model.vocab is -1");
  ExpectRefused(With("/model/vocab/zz", 1.5), kData, "the id of \"zz\" in model.vocab is 1.5");
  ExpectRefused(With("/model/vocab/zz", 16777217), kData, "the id of \"zz\" in model.vocab is 16777217");
  ExpectRefused(With("/model/vocab/zz", 18446744073709551615U), kData, "is 18446744073709551615; an id");
  ExpectRefused(With("/model/vocab/zz", 97), kData, "model.vocab gives id 97 to \"a\" and to \"zz\"");
  ExpectRefused(With("/model/merges", "a b"), kData, "model.merges is \"a b\"");
  ExpectRefused(With("/model/merges/1", "ab"), kData, "model.merges[1] is \"ab\"");
  ExpectRefused(With("/model/merges/1", "a  b"), kData, "model.merges[1] is \"a  b\"");
  ExpectRefused(With("/model/merges/1", " b"), kData, "model.merges[1] is \" b\"");
  ExpectRefused(With("/model/merges/1", Json::array({"a", "b", "c"})), kData, "model.merges[1] is a list");
  ExpectRefused(With("/model/merges/1", Json::array({"a", 1})), kData, "model.merges[1] is a list");
  ExpectRefused(With("/model/merges/1", Json::array({"a", "z"})), kData,
                "merge 1 (\"a\" + \"z\") needs the token \"az\"");
  ExpectRefused(With("/model/byte_fallback", "no"), kData, "model.byte_fallback is \"no\"");
  ExpectRefused(With("/added_tokens", 3), kData, "added_tokens is 3");
  ExpectRefused(With("/added_tokens/0/id", "x"), kData, "added_tokens[0].id is \"x\"");
  ExpectRefused(With("/added_tokens/0/content", 1), kData, "added_tokens[0].content is 1");
  ExpectRefused(With("/added_tokens/0/special", 1), kData, "added_tokens[0].special is 1");
  ExpectRefused(With("/added_tokens/0", Json::array()), kData, "added_tokens[0].id is null");
}

TEST(TokenizerJson, NamesWhatIsntJson) {
  const auto failure = [](std::string_view text) { return ParseTokenizerJson(text, "t.json").status().message(); };
  EXPECT_THAT(failure(""), HasSubstr("t.json: not valid JSON"));
  EXPECT_THAT(failure("{\"model\": \xff}"), HasSubstr("t.json: not valid JSON"));
  EXPECT_THAT(failure("[1e999]"), HasSubstr("t.json: not valid JSON"));
  EXPECT_THAT(failure(std::string(100000, '[')), HasSubstr("t.json: not valid JSON"));
  EXPECT_THAT(failure("[]"), HasSubstr("a JSON object is expected, found array"));
  EXPECT_THAT(failure("version https://git-lfs.github.com/spec/v1\n"), HasSubstr("Git LFS pointer"));
}

class TokenizerDirectory : public testing::Test {
 protected:
  void SetUp() override {
    directory_ =
        testing::TempDir() + "/phidias_tokenizer_" + testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(directory_);
    std::filesystem::create_directories(directory_);
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  void Write(const std::string& name, const std::string& text) {
    auto file = AtomicFile::Create(directory_ + "/" + name);
    ASSERT_TRUE(file.ok());
    ASSERT_TRUE(file->Write(text).ok());
    ASSERT_TRUE(file->Commit().ok());
  }
  void WriteOldKind() {
    Write("vocab.json", SmallJson()["model"]["vocab"].dump());
    Write("merges.txt", "#version: 0.2\n\u0120 a\na b\n");
    Write("added_tokens.json", R"({"<|endoftext|>": 258, "  ": 259})");
  }
  std::string Failure() { return Tokenizer::Load(directory_).status().message(); }
  std::vector<int32_t> Encode(std::string_view text, bool parse_special = true) {
    const auto tokenizer = Tokenizer::Load(directory_);
    EXPECT_TRUE(tokenizer.ok()) << tokenizer.status().message();
    return tokenizer.ok() ? *tokenizer->Encode(text, parse_special) : std::vector<int32_t>();
  }

  std::string directory_;
};

TEST_F(TokenizerDirectory, OldKind) {
  WriteOldKind();
  EXPECT_EQ(Encode(kText), kExpected);
  EXPECT_EQ(Encode("  !"), (std::vector<int32_t>{259, '!'}));
  const auto tokenizer = Tokenizer::Load(directory_);
  ASSERT_TRUE(tokenizer.ok());
  EXPECT_TRUE(tokenizer->IsSpecial(258));
  EXPECT_FALSE(tokenizer->IsSpecial(259));
}

TEST_F(TokenizerDirectory, CarriageReturnsBlankLinesAndNoVersionLine) {
  WriteOldKind();
  Write("merges.txt", "\u0120 a\r\na b\r\n\r\n");
  EXPECT_EQ(Encode(kText), kExpected);
  Write("merges.txt", "\u0120 a\na b");
  EXPECT_EQ(Encode(kText), kExpected);
}

TEST_F(TokenizerDirectory, EndOfTextInTheVocabularyAlone) {
  WriteOldKind();
  std::filesystem::remove(directory_ + "/added_tokens.json");
  Json vocab = SmallJson()["model"]["vocab"];
  vocab["<|endoftext|>"] = 258;
  Write("vocab.json", vocab.dump());
  EXPECT_EQ(Encode(kText), kExpected);
}

TEST_F(TokenizerDirectory, SpecialTokensComeFromTheOtherFiles) {
  WriteOldKind();
  Write("added_tokens.json", R"({"<|endoftext|>": 258, "<pad>": 259, "<sep>": 260, "<user>": 261, "<x>": 262})");
  Write("special_tokens_map.json", R"({"pad_token": {"content": "<pad>", "lstrip": false}, "bos_token": "<not there>",
                                       "additional_special_tokens": ["<user>"]})");
  Write("tokenizer_config.json", R"({"add_prefix_space": false, "sep_token": "<sep>",
         "added_tokens_decoder": {"263": {"content": "<y>", "special": true, "rstrip": true}}})");
  const auto tokenizer = Tokenizer::Load(directory_);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  for (const int32_t id : {258, 259, 260, 261, 263}) {
    EXPECT_TRUE(tokenizer->IsSpecial(id)) << id;
  }
  EXPECT_FALSE(tokenizer->IsSpecial(262));
  EXPECT_EQ(Encode("<y>  <x>"), (std::vector<int32_t>{263, 262}));
}

TEST_F(TokenizerDirectory, NamesWhatIsBroken) {
  EXPECT_THAT(Failure(), HasSubstr(directory_ + ": no tokenizer here"));
  Write("vocab.json", "{}");
  EXPECT_THAT(Failure(), HasSubstr("there is vocab.json but no merges.txt"));
  WriteOldKind();
  Write("merges.txt", "#version: 0.2\na b\na b c\n");
  EXPECT_THAT(Failure(), HasSubstr("merges.txt: line 3 is \"a b c\""));
  WriteOldKind();
  Write("added_tokens.json", R"({"<x>": -3})");
  EXPECT_THAT(Failure(), HasSubstr("added_tokens.json: the id of \"<x>\" is -3"));
  WriteOldKind();
  Write("tokenizer_config.json", R"({"added_tokens_decoder": {"12x": {"content": "<y>"}}})");
  EXPECT_THAT(Failure(), HasSubstr("tokenizer_config.json: added_tokens_decoder[\"12x\"]"));
  Write("tokenizer_config.json", R"({"added_tokens_decoder": {"300": {"content": "<|endoftext|>"}}})");
  EXPECT_THAT(Failure(), HasSubstr("added_tokens.json: \"<|endoftext|>\" has the id 258"));
  Write("tokenizer_config.json", "{");
  EXPECT_THAT(Failure(), HasSubstr("tokenizer_config.json: not valid JSON"));
}

TEST_F(TokenizerDirectory, RefusesAPrefixSpaceWhicheverFilesThereAre) {
  WriteOldKind();
  Write("tokenizer_config.json", R"({"add_prefix_space": true})");
  EXPECT_THAT(Failure(), HasSubstr("tokenizer_config.json: add_prefix_space is true"));
  Write("tokenizer.json", SmallJson().dump());
  EXPECT_THAT(Failure(), HasSubstr("tokenizer_config.json: add_prefix_space is true"));
  Write("tokenizer_config.json", R"({"add_prefix_space": null})");
  EXPECT_EQ(Encode(kText), kExpected);
}

TEST_F(TokenizerDirectory, NoSuchFile) {
  const Status status = Tokenizer::Load(directory_ + "/nothing").status();
  EXPECT_EQ(status.code(), StatusCode::kNotFound);
  EXPECT_THAT(status.message(), HasSubstr("/nothing"));
}

}  // namespace
}  // namespace phidias
