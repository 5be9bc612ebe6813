// `phidias tokenize` against the ids of Hugging Face tokenizers (tests/golden/tokenizer/tokens.json).

#include <sstream>

#include "tests/cli/cli_test_util.h"

namespace phidias::testing {
namespace {

std::string PhiTokenizer() {
  return Root() + "/tests/golden/tokenizer";
}

TEST(Tokenize, PrintsAJsonArray) {
  EXPECT_EQ(Output({"tokenize", "-m", PhiTokenizer(), "Hello, world!"}), "[15496, 11, 995, 0]\n");
  EXPECT_EQ(Output({"tokenize", PhiTokenizer(), "Hello, world!"}), "[15496, 11, 995, 0]\n");
  EXPECT_EQ(Output({"tokenize", PhiTokenizer() + "/tokenizer.json", "-p", "Hello, world!"}), "[15496, 11, 995, 0]\n");
  EXPECT_EQ(Output({"tokenize", Root() + "/tests/golden/tokenizer-old", "Hello, world!"}), "[15496, 11, 995, 0]\n");
}

TEST(Tokenize, TakesTheTextToItsLastByte) {
  EXPECT_EQ(Output({"tokenize", PhiTokenizer()}, "Hello, world!\n"), "[15496, 11, 995, 0, 198]\n");
  EXPECT_EQ(Output({"tokenize", PhiTokenizer(), "-f", "-"}, "Hello, world!"), "[15496, 11, 995, 0]\n");
  EXPECT_EQ(Output({"tokenize", PhiTokenizer(), "-e", "Hello, world!\\n"}), "[15496, 11, 995, 0, 198]\n");
  EXPECT_EQ(Output({"tokenize", PhiTokenizer()}, ""), "[]\n");
  EXPECT_EQ(Output({"tokenize", PhiTokenizer(), "-p", ""}), "[]\n");
}

TEST(Tokenize, GoldenRowsThereAndBack) {
  const auto rows = ReadJson(PhiTokenizer() + "/tokens.json");
  std::string texts;
  std::string ids;
  for (const auto& row : rows) {
    texts += nlohmann::json{{"text", row["text"]}}.dump() + "\n";
    ids += nlohmann::json{{"ids", row["ids"]}}.dump() + "\n";
  }
  const ScratchDirectory scratch;
  WriteText(scratch.File("texts.jsonl"), texts);
  EXPECT_EQ(Output({"tokenize", "-m", PhiTokenizer(), "--jsonl", scratch.File("texts.jsonl")}), ids);
  std::istringstream back(Output({"tokenize", "-m", PhiTokenizer(), "--jsonl", "-", "--decode"}, ids));
  std::string line;
  for (const auto& row : rows) {
    ASSERT_TRUE(std::getline(back, line));
    EXPECT_EQ(nlohmann::json::parse(line)["text"], row["text"]);
  }
  EXPECT_FALSE(std::getline(back, line));
}

TEST(Tokenize, IdsGiveTheVeryBytes) {
  EXPECT_EQ(Output({"tokenize", "-m", PhiTokenizer(), "--ids", "15496,11,995,0"}), "Hello, world!");
  EXPECT_EQ(Output({"tokenize", PhiTokenizer(), "--ids", "[15496, 11, 995, 0]\n"}), "Hello, world!");
  EXPECT_EQ(Output({"tokenize", PhiTokenizer(), "--ids", "[]"}), "");
  // Half of a character comes out as it is, not as a replacement for it.
  const auto ids = JsonOutput({"tokenize", PhiTokenizer(), "\xf0\x9f\xa6\x89"});
  ASSERT_GT(ids.size(), 1U);
  const std::string first = Output({"tokenize", PhiTokenizer(), "--ids", ids[0].dump()});
  EXPECT_TRUE(std::string("\xf0\x9f\xa6\x89").starts_with(first)) << first;
}

TEST(Tokenize, SpecialTokens) {
  EXPECT_EQ(Output({"tokenize", PhiTokenizer(), "<|endoftext|>"}), "[50256]\n");
  EXPECT_GT(JsonOutput({"tokenize", PhiTokenizer(), "--no-special", "<|endoftext|>"}).size(), 1U);
  EXPECT_EQ(Output({"tokenize", PhiTokenizer(), "--ids", "0,50256,0"}), "!<|endoftext|>!");
  EXPECT_EQ(Output({"tokenize", PhiTokenizer(), "--no-special", "--ids", "0,50256,0"}), "!!");
}

TEST(Tokenize, Pieces) {
  EXPECT_EQ(Output({"tokenize", PhiTokenizer(), "--pieces", "Hello, world!\n"}),
            "15496\t\"Hello\"\n11\t\",\"\n995\t\" world\"\n0\t\"!\"\n198\t\"\\x0a\"\n");
  EXPECT_EQ(Output({"tokenize", PhiTokenizer(), "--pieces", "--ids", "995"}), "995\t\" world\"\n");
}

TEST(Tokenize, DemoModelRoundTrip) {
  const std::string text = "Lily's dog \xc3\xa9t\xc3\xa9 \xf0\x9f\x90\xb6\n\n  42 times.";
  EXPECT_EQ(Output({"tokenize", "--ids", Output({"tokenize", "-p", text})}), text);
}

TEST(Tokenize, RefusesBadIdsByTheirPosition) {
  ExpectFailure({"tokenize", PhiTokenizer(), "--ids", "1,2,x"}, 2, "item 3 of the ids: \"x\" is not a whole number");
  ExpectFailure({"tokenize", PhiTokenizer(), "--ids", "1,,2"}, 2, "item 2 of the ids");
  ExpectFailure({"tokenize", PhiTokenizer(), "--ids", "1,-2"}, 2, "item 2 of the ids: -2 is out of range");
  ExpectFailure({"tokenize", PhiTokenizer(), "--ids", "99999999999999999999"}, 2, "item 1 of the ids");
  ExpectFailure({"tokenize", PhiTokenizer(), "--ids", "1,60000"}, 2, "item 2 of the ids: 60000 is outside");
}

TEST(Tokenize, RefusesBadRowsByTheirLine) {
  const auto refused = [](const std::string& rows, const std::string& message, std::vector<std::string> more = {}) {
    std::vector<std::string> arguments = {"tokenize", "-m", PhiTokenizer(), "--jsonl", "-"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const ProcessResult result = Phidias(arguments, rows);
    EXPECT_EQ(result.exit_code, 3) << result.err;
    EXPECT_NE(result.err.find(message), std::string::npos) << result.err;
  };
  refused("{\"text\": \"a\"}\n\n{\"text\": \n", "stdin:3: not a JSON object");
  refused("[1]\n", "stdin:1: not a JSON object");
  refused("{\"text\": 1}\n", "stdin:1: expected an object with a string \"text\"");
  refused("{\"text\": \"a\"}\n", "stdin:1: expected an object with an array \"ids\"", {"--decode"});
  refused("{\"ids\": [1, 2.5]}\n", "stdin:1: item 2 of \"ids\"", {"--decode"});
  refused("{\"ids\": [1, \"2\"]}\n", "stdin:1: item 2 of \"ids\"", {"--decode"});
  refused("{\"ids\": [99999999999]}\n", "stdin:1: item 1 of \"ids\"", {"--decode"});
  refused("{\"ids\": [60000]}\n", "stdin:1: item 1 of the ids: 60000", {"--decode"});
  refused(std::string(200000, '['), "stdin:1: not a JSON object");
  ExpectFailure({"tokenize", PhiTokenizer(), "--jsonl", "/no/such/file"}, 3, "/no/such/file");
}

TEST(Tokenize, RefusesWhatDoesntGoTogether) {
  ExpectFailure({"tokenize", "--decode", "x"}, 2, "--decode");
  ExpectFailure({"tokenize", "--ids", "1", "--jsonl", "-"}, 2, "--jsonl");
  ExpectFailure({"tokenize", "--ids", "1", "-p", "x"}, 2, "makes no sense together with --ids");
  ExpectFailure({"tokenize", "--pieces", "--jsonl", "-"}, 2, "--pieces");
  ExpectFailure({"tokenize", "-m", PhiTokenizer(), "a", "b"}, 2, "given twice");
  ExpectFailure({"tokenize", Tiny(), "a"}, 3, "no tokenizer here");
  ExpectFailure({"tokenize", PhiTokenizer(), "a\xff"}, 2, "UTF-8");
}

}  // namespace
}  // namespace phidias::testing
