// The tokenizer of a GGUF file. The good file is models/demo's tokenizer.json laid out as the ecosystem's converter
// writes it; its ids must be those of tokenizer.json.

#include "model/tokenizer/gguf_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/file.h"
#include "model/tokenizer/tokenizer_files.h"

namespace phidias {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using Strings = std::vector<std::string>;
using Integers = std::vector<int64_t>;

const std::string kDemo = std::string(PHIDIAS_SOURCE_DIR) + "/models/demo/tokenizer.json";

// Rows 4096..4159 of the embedding have no text; "\t\t" is put in as a user-defined token.
GgufFile DemoGguf() {
  const auto parts = ReadTokenizerJson(kDemo);
  EXPECT_TRUE(parts.ok()) << parts.status().message();
  Strings tokens = parts->vocab;
  Integers types(tokens.size(), 1);
  types[0] = 3;
  tokens.push_back("\t\t");
  types.push_back(4);
  while (tokens.size() < 4160) {
    tokens.push_back("[PAD" + std::to_string(tokens.size()) + "]");
    types.push_back(tokens.size() % 2 == 0 ? 5 : 4);  // converters of today, and of 2023
  }
  Strings merges;
  for (const auto& [left, right] : parts->merges) {
    merges.push_back(left + " " + right);
  }
  GgufFile file;
  file.path = "m.gguf";
  file.metadata["tokenizer.ggml.model"] = std::string("gpt2");
  file.metadata["tokenizer.ggml.pre"] = std::string("phi-2");
  file.metadata["tokenizer.ggml.tokens"] = tokens;
  file.metadata["tokenizer.ggml.token_type"] = types;
  file.metadata["tokenizer.ggml.merges"] = merges;
  return file;
}

Result<Tokenizer> Make(const GgufFile& file) {
  auto parts = GgufTokenizerParts(file);
  return parts.ok() ? Tokenizer::FromParts(*std::move(parts)) : Result<Tokenizer>(parts.status());
}

void ExpectRefused(const GgufFile& file, StatusCode code, const std::string& message) {
  const Status status = Make(file).status();
  EXPECT_EQ(status.code(), code) << message;
  EXPECT_THAT(status.message(), AllOf(StartsWith("m.gguf: "), HasSubstr(message)));
}

TEST(GgufTokenizer, EqualsTokenizerJson) {
  const auto gguf = Make(DemoGguf());
  const auto json = Tokenizer::Load(kDemo);
  ASSERT_TRUE(gguf.ok()) << gguf.status().message();
  ASSERT_TRUE(json.ok()) << json.status().message();
  for (const char* text :
       {"Instruct: Tell me a story.\nOutput:", "caf\u00e9 <|endoftext|> \u65e5\u672c", "[PAD4100]"}) {
    EXPECT_EQ(*gguf->Encode(text), *json->Encode(text)) << text;
    EXPECT_EQ(gguf->Decode(*gguf->Encode(text), false), text);
  }
  EXPECT_EQ(*gguf->Encode("a\t\tb"), (std::vector<int32_t>{gguf->IdOf("a"), 4096, gguf->IdOf("b")}));
  EXPECT_EQ(gguf->size(), 4097);
  EXPECT_TRUE(gguf->IsSpecial(0));
  EXPECT_FALSE(gguf->IsSpecial(4096));
  for (int32_t id = 0; id < 4160; ++id) {
    EXPECT_EQ(gguf->HasText(id), id <= 4096) << id;
  }
}

TEST(GgufTokenizer, KindsThatAreGpt2s) {
  GgufFile file = DemoGguf();
  for (const char* pre : {"phi-2", "gpt-2", "gpt2"}) {
    file.metadata["tokenizer.ggml.pre"] = std::string(pre);
    EXPECT_TRUE(Make(file).ok()) << pre;
  }
  file.metadata.erase("tokenizer.ggml.pre");
  file.metadata.erase("tokenizer.ggml.token_type");
  const auto tokenizer = Make(file);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  EXPECT_TRUE(tokenizer->IsSpecial(0));
  EXPECT_FALSE(tokenizer->HasText(4100));
}

TEST(GgufTokenizer, KindsThatArent) {
  GgufFile file = DemoGguf();
  file.metadata["tokenizer.ggml.pre"] = std::string("llama-bpe");
  ExpectRefused(file, StatusCode::kUnsupported, "tokenizer.ggml.pre is \"llama-bpe\"");
  file.metadata["tokenizer.ggml.model"] = std::string("llama");
  ExpectRefused(file, StatusCode::kUnsupported, "tokenizer.ggml.model is \"llama\"");
  file = DemoGguf();
  std::get<Integers>(file.metadata["tokenizer.ggml.token_type"])[7] = 6;
  ExpectRefused(file, StatusCode::kUnsupported, "tokenizer.ggml.token_type[7]");
}

TEST(GgufTokenizer, NamesTheKeyThatIsMissingOrBroken) {
  for (const char* key : {"tokenizer.ggml.model", "tokenizer.ggml.tokens", "tokenizer.ggml.merges"}) {
    GgufFile file = DemoGguf();
    file.metadata.erase(key);
    ExpectRefused(file, StatusCode::kDataError, std::string("the metadata key ") + key + " (");
    file.metadata[key] = 1.5;
    ExpectRefused(file, StatusCode::kDataError, std::string("the metadata key ") + key + " isn't");
  }
  GgufFile file = DemoGguf();
  file.metadata["tokenizer.ggml.token_type"] = Integers(3, 1);
  ExpectRefused(file, StatusCode::kDataError, "tokenizer.ggml.token_type has 3 entries, tokenizer.ggml.tokens 4160");
  file = DemoGguf();
  std::get<Strings>(file.metadata["tokenizer.ggml.merges"])[5] = "nospace";
  ExpectRefused(file, StatusCode::kDataError, "tokenizer.ggml.merges[5] is \"nospace\"");
  file = DemoGguf();
  std::get<Strings>(file.metadata["tokenizer.ggml.tokens"])[4096] = "\xff";
  ExpectRefused(file, StatusCode::kDataError, "id 4096, \"\\xff\", isn't valid UTF-8");
}

}  // namespace
}  // namespace phidias
