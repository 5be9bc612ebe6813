// Data sets: every format, which rows are chosen, and each kind of bad input with its message.
#include "quant/dataset.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <set>

#include "quant/data_row.h"

namespace phidias {
namespace {

using ::testing::HasSubstr;

const Tokenizer& DemoTokenizer() {
  static const Tokenizer tokenizer = *Tokenizer::Load(std::string(PHIDIAS_SOURCE_DIR) + "/models/demo");
  return tokenizer;
}

// A file that goes away with the object.
class TempFile {
 public:
  explicit TempFile(const std::string& text) {
    std::string path = ::testing::TempDir() + "phidias-data-XXXXXX";
    close(mkstemp(path.data()));
    path_ = path;
    std::ofstream(path_, std::ios::binary) << text;
  }
  TempFile(const TempFile&) = delete;
  TempFile& operator=(const TempFile&) = delete;
  ~TempFile() { std::remove(path_.c_str()); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

Dataset Load(const std::string& text, const DatasetOptions& options = {}) {
  const TempFile file(text);
  Result<Dataset> dataset = LoadDataset(DemoTokenizer(), file.path(), options);
  EXPECT_TRUE(dataset.ok()) << dataset.status().message();
  return dataset.ok() ? *std::move(dataset) : Dataset();
}

void ExpectRefused(const std::string& text, const std::string& message, const DatasetOptions& options = {}) {
  const TempFile file(text);
  const Result<Dataset> dataset = LoadDataset(DemoTokenizer(), file.path(), options);
  ASSERT_FALSE(dataset.ok()) << "expected: " << message;
  EXPECT_THAT(dataset.status().message(), HasSubstr(message));
  EXPECT_THAT(dataset.status().message(), HasSubstr(file.path()));
}

std::vector<int32_t> Ids(const std::string& text) {
  return *DemoTokenizer().Encode(text);
}

TEST(DataRow, RendersMessages) {
  EXPECT_EQ(*ParseDataRow(R"({"prompt": "x", "messages": [{"role": "user", "content": "Hi\n"},
            {"content": "Yes", "role": "assistant", "extra": {"role": "nobody", "deep": [[{}]]}},
            {"role": "system", "content": "Be kind"}], "meta": {"text": 1, "messages": null}})"),
            "Instruct: Hi\n\nOutput: Yes\nInstruct: Be kind\n");
  EXPECT_EQ(*ParseDataRow(R"({"text": "plain \u00e9"})"), "plain \xc3\xa9");
  EXPECT_EQ(*ParseDataRow(R"({"text": "t", "messages": []})"), "");  // messages win
}

TEST(DataRow, SaysWhatIsWrong) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"a": 1, "b": [2]})", R"(the row has the keys "a", "b"; expected "messages")"},
      {R"({})", "the row has no keys"},
      {R"(7)", "is a number; expected a JSON object"},
      {R"("x")", "is a string; expected a JSON object"},
      {R"([{"text": "a"}])", "is a list; expected a JSON object"},
      {R"({"text": 7})", R"("text" is a number; expected a string)"},
      {R"({"text": ["a"]})", R"("text" is a list; expected a string)"},
      {R"({"messages": "hello"})", R"("messages" is a string; expected a list)"},
      {R"({"messages": {"role": "user"}})", R"("messages" is an object; expected a list)"},
      {R"({"messages": ["hello"]})", "messages[0] is a string; expected {"},
      {R"({"messages": [{"role": "user", "content": "a"}, {"role": "user"}]})", R"(messages[1] has no "content")"},
      {R"({"messages": [{"content": "a"}]})", R"(messages[0] has no "role")"},
      {R"({"messages": [{"role": "tool", "content": "a"}]})", R"(messages[0].role is "tool"; expected "user")"},
      {R"({"messages": [{"role": "user", "content": null}]})", "messages[0].content is null; expected a string"},
      {R"({"messages": [{"role": "user", "content": [{"type": "text"}]}]})", "messages[0].content is a list"},
      {R"({"text": "a")", "is not one JSON object on one line"},
      {R"({"text": "a"} {"text": "b"})", "is not one JSON object on one line"},
      {R"({"text": "\ud800"})", "is not one JSON object on one line"},
      {R"({"x": 1e999, "text": "a"})", "is not one JSON object on one line"},
  };
  for (const auto& [line, message] : cases) {
    const Result<std::string> text = ParseDataRow(line);
    ASSERT_FALSE(text.ok()) << line;
    EXPECT_THAT(text.status().message(), HasSubstr(message)) << line;
  }
  const Result<std::string> deep = ParseDataRow(R"({"x": )" + std::string(100000, '['));
  ASSERT_FALSE(deep.ok());
  EXPECT_THAT(deep.status().message(), HasSubstr("nests deeper"));
}

TEST(Dataset, ReadsJsonLines) {
  const Dataset dataset = Load(
      "\xef\xbb\xbf"
      "{\"messages\": [{\"role\": \"user\", \"content\": \"Tell me\"}, {\"role\": \"assistant\", \"content\": "
      "\"No\"}]}\r\n"
      "\n   \n{\"text\": \"\"}\n{\"text\": \"Once upon a time, there was a\"}");
  EXPECT_EQ(dataset.format, DataFormat::kJsonLines);
  ASSERT_EQ(dataset.rows.size(), 2U);
  EXPECT_EQ(dataset.rows[0], Ids("Instruct: Tell me\nOutput: No\n"));
  EXPECT_EQ(dataset.rows[1], Ids("Once upon a time, there was a"));
  EXPECT_EQ(dataset.rows_read, 3);
  EXPECT_EQ(dataset.rows_short, 1);
  EXPECT_EQ(dataset.rows_cut, 0);
  EXPECT_EQ(dataset.tokens, static_cast<int64_t>(dataset.rows[0].size() + dataset.rows[1].size()));
}

TEST(Dataset, ParsesSpecialTokens) {
  EXPECT_EQ(Load("{\"text\": \"a <|endoftext|> b\"}").rows[0], *DemoTokenizer().Encode("a <|endoftext|> b", true));
}

TEST(Dataset, CutsRowsAndTakesTheFirst) {
  const Dataset dataset =
      Load("{\"text\": \"one two three four five six seven\"}\n{\"text\": \"a b\"}\nnot JSON, but never read\n",
           {.samples = 2, .max_tokens = 3});
  ASSERT_EQ(dataset.rows.size(), 2U);
  std::vector<int32_t> ids = Ids("one two three four five six seven");
  ids.resize(3);
  EXPECT_EQ(dataset.rows[0], ids);
  EXPECT_EQ(dataset.rows_cut, 1);
}

std::string Numbered(int rows) {
  std::string text;
  for (int i = 0; i < rows; ++i) {
    text += "{\"text\": \"row number " + std::to_string(i) + " of the file\"}\n";
  }
  return text;
}

TEST(Dataset, ChoosesRowsAtRandomBySeed) {
  const std::string text = Numbered(200);
  const Dataset all = Load(text);
  const Dataset one = Load(text, {.samples = 20, .seed = 1});
  EXPECT_EQ(one.rows_read, 200);
  ASSERT_EQ(one.rows.size(), 20U);
  EXPECT_EQ(Load(text, {.samples = 20, .seed = 1}).rows, one.rows);
  EXPECT_NE(Load(text, {.samples = 20, .seed = 2}).rows, one.rows);
  // In the file's order, none twice, and not simply the first ones.
  size_t at = 0;
  size_t last = 0;
  for (const auto& row : one.rows) {
    while (at < all.rows.size() && all.rows[at] != row) {
      ++at;
    }
    ASSERT_LT(at, all.rows.size());
    last = at++;
  }
  EXPECT_GT(last, 100U);
  EXPECT_EQ(Load(text, {.samples = 500, .seed = 1}).rows, all.rows);
  // A larger sample holds the smaller one.
  const Dataset more = Load(text, {.samples = 40, .seed = 1});
  const std::set<std::vector<int32_t>> larger(more.rows.begin(), more.rows.end());
  for (const auto& row : one.rows) {
    EXPECT_TRUE(larger.contains(row));
  }
  int64_t tokens = 0;
  for (const auto& row : one.rows) {
    tokens += static_cast<int64_t>(row.size());
  }
  EXPECT_EQ(one.tokens, tokens);
}

TEST(Dataset, CutsPlainTextIntoRows) {
  std::string text = "The lighthouse keeper went up the stairs every evening. ";
  text += text + text;
  const std::vector<int32_t> ids = Ids(text);
  const Dataset dataset = Load(text, {.max_tokens = 5});
  EXPECT_EQ(dataset.format, DataFormat::kText);
  std::vector<int32_t> joined;
  for (const auto& row : dataset.rows) {
    EXPECT_LE(row.size(), 5U);
    joined.insert(joined.end(), row.begin(), row.end());
  }
  EXPECT_EQ(joined, std::vector<int32_t>(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(joined.size())));
  EXPECT_LE(ids.size() - joined.size(), 1U);  // a lone last token is left out
  EXPECT_EQ(Load(text, {.samples = 2, .max_tokens = 5}).rows.size(), 2U);
  EXPECT_EQ(Load(text, {.samples = 3, .max_tokens = 5, .seed = 4}).rows.size(), 3U);
}

TEST(Dataset, FormatCanBeForced) {
  const std::string text = "{ this is C, not JSON }";
  ExpectRefused(text, "line 1: is not one JSON object");
  EXPECT_EQ(Load(text, {.format = DataFormat::kText}).rows[0], Ids(text));
  ExpectRefused("words", "line 1: is not one JSON object", {.format = DataFormat::kJsonLines});
}

TEST(Dataset, RefusesBadInput) {
  ExpectRefused("", "is empty");
  ExpectRefused("\n\n  \n{\"text\": \"a b c\"}\n{\"txt\": 1}\n", "line 5: the row has the keys \"txt\"");
  ExpectRefused("{\"text\": \"a b\"}\n{\"text\": \"b\xff\"}\n", "line 2: is not UTF-8 (byte 12 of the line)");
  ExpectRefused("plain\ntext \xc3(\n", "line 2: is not UTF-8 (byte 12 of the file)");
  ExpectRefused("{\"text\": \"\"}\n{\"messages\": []}\n", "no row can be used: 2 read, all shorter than 2 tokens");
  ExpectRefused("[{\"text\": \"a\"}]", "is one JSON list; expected JSON lines");
  ExpectRefused("PAR1\x15\x04", "is a Parquet file; convert it to JSON lines first");
  ExpectRefused("\x1f\x8b\x08", "is gzip-compressed; unpack it");
  ExpectRefused("PK\x03\x04", "is a zip archive");
  ExpectRefused("GGUF\x03", "is a model, not text");
  ExpectRefused("version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer");
  ExpectRefused("<!DOCTYPE html>", "is an HTML page");
  ExpectRefused(std::string("\xff\xfe{\0", 4), "is UTF-16");
  const TempFile file("{\"text\": \"a b\"}");
  EXPECT_THAT(LoadDataset(DemoTokenizer(), file.path(), {.max_tokens = 1}).status().message(),
              HasSubstr("rows cut to 1 token: at least 2 are needed"));
}

TEST(Dataset, RefusesALineWithoutEnd) {
  ExpectRefused("{\"text\": \"a b\"}\n{\"text\": \"" + std::string(kMaxRowBytes, 'a') + "\"}",
                "line 2 has more than 67.11 MB");
}

TEST(Dataset, RefusesPathsThatAreNoFiles) {
  const Result<Dataset> directory = LoadDataset(DemoTokenizer(), ::testing::TempDir(), {});
  ASSERT_FALSE(directory.ok());
  EXPECT_THAT(directory.status().message(), HasSubstr("is a directory"));
  const Result<Dataset> nothing = LoadDataset(DemoTokenizer(), "/nowhere/data.jsonl", {});
  ASSERT_FALSE(nothing.ok());
  EXPECT_EQ(nothing.status().code(), StatusCode::kNotFound);
}

TEST(Stream, JoinsRowsByBlankLines) {
  const TempFile file("{\"text\": \"one\"}\n{\"text\": \"two\"}\n{\"text\": \"three\"}\n");
  EXPECT_EQ(*LoadStream(DemoTokenizer(), file.path(), 0), Ids("one\n\ntwo\n\nthree"));
  EXPECT_EQ(*LoadStream(DemoTokenizer(), file.path(), 2), Ids("one\n\ntwo"));
  const TempFile text("one\ntwo");
  EXPECT_EQ(*LoadStream(DemoTokenizer(), text.path(), 0), Ids("one\ntwo"));
  const TempFile empty("");
  EXPECT_THAT(LoadStream(DemoTokenizer(), empty.path(), 0).status().message(), HasSubstr("is empty"));
}

TEST(DatasetFingerprint, TellsRowsApart) {
  Dataset a;
  a.rows = {{1, 2}, {3}};
  Dataset b;
  b.rows = {{1}, {2, 3}};
  Dataset c;
  c.rows = {{1, 2}, {4}};
  EXPECT_NE(DatasetFingerprint(a), DatasetFingerprint(b));
  EXPECT_NE(DatasetFingerprint(a), DatasetFingerprint(c));
  EXPECT_EQ(DatasetFingerprint(a), DatasetFingerprint(a));
}

}  // namespace
}  // namespace phidias
