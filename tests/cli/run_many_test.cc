// `phidias run --prompts`: every prompt of a file says what it says alone, in the file's order, whatever fails or
// interrupts; and all the ways to misuse it.

#include <sstream>

#include "tests/cli/cli_test_util.h"

namespace phidias::testing {
namespace {

using Json = nlohmann::json;

std::vector<Json> Lines(const std::string& text) {
  std::vector<Json> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) {
    lines.push_back(Json::parse(line, nullptr, false));
    EXPECT_TRUE(lines.back().is_object()) << line;
  }
  EXPECT_TRUE(text.empty() || text.ends_with('\n')) << "the last line is whole";
  return lines;
}

std::string JsonLines(const std::vector<Json>& rows) {
  std::string text;
  for (const Json& row : rows) {
    text += row.dump() + "\n";
  }
  return text;
}

const std::vector<std::string>& Prompts() {
  static const std::vector<std::string> kPrompts = {"Once upon a time, there was a", "Lily and Tom were in the park.",
                                                    "One day", "The dog ran and ran and ran and ran",
                                                    "Mia had a red ball. Mia had a red"};
  return kPrompts;
}

std::string TextFile(const ScratchDirectory& scratch) {
  std::string text;
  for (const std::string& prompt : Prompts()) {
    text += prompt + "\n";
  }
  WriteText(scratch.File("prompts.txt"), text);
  return scratch.File("prompts.txt");
}

TEST(RunParallel, EachSaysWhatItSaysAlone) {
  const ScratchDirectory scratch;
  const std::string path = TextFile(scratch);
  for (const std::vector<std::string>& flags :
       std::vector<std::vector<std::string>>{{"--parallel", "1"},
                                             {"--parallel", "3", "--lookup", "6"},
                                             {"--isa", "portable", "-t", "1", "-b", "7"},
                                             {"-s", "3", "--temp", "0.9", "--lookup", "3"},
                                             {"--prompt-format", "qa", "--stop", "."}}) {
    SCOPED_TRACE(::testing::PrintToString(flags));
    std::vector<std::string> many = {"run", "-n", "20", "--prompts", path};
    many.insert(many.end(), flags.begin(), flags.end());
    const std::vector<Json> lines = Lines(Output(many));
    ASSERT_EQ(lines.size(), Prompts().size());
    for (size_t i = 0; i < lines.size(); ++i) {
      std::vector<std::string> one = {"run", "-n", "20", "--json", "-p", Prompts()[i]};
      for (const std::string& flag : flags) {
        one.push_back(flag == "--lookup" ? "--repeat-last-n" : flag);  // without guesses
      }
      const Json alone = JsonOutput(one);
      EXPECT_EQ(lines[i]["line"], i + 1);
      for (const char* key : {"text", "ids", "finish_reason", "prompt_tokens", "generated_tokens", "seed"}) {
        EXPECT_EQ(lines[i][key], alone[key]) << key << " of " << Prompts()[i];
      }
    }
  }
}

TEST(RunParallel, JsonLinesGiveEachItsOwnNumbers) {
  const ScratchDirectory scratch;
  const std::string path = scratch.File("prompts.jsonl");
  WriteText(path, "\xef\xbb\xbf" +
                      JsonLines({{{"prompt", "One day\n"}, {"id", "first"}, {"max_tokens", 3}},
                                 {{"prompt", "One day\n"}, {"id", 7}, {"seed", 5}, {"other", {{"a", {1}}}}},
                                 {{"prompt", "One day\n"}, {"id", nullptr}, {"max_tokens", 0}}}) +
                      "\n  \n{\"prompt\": \"The\"}");
  const std::vector<Json> lines = Lines(Output({"run", "-n", "9", "-s", "2", "--prompts", path}));
  ASSERT_EQ(lines.size(), 4U);
  EXPECT_EQ(lines[0]["id"], "first");
  EXPECT_EQ(lines[0]["generated_tokens"], 3);
  EXPECT_EQ(lines[0]["seed"], 2);
  EXPECT_EQ(lines[1]["id"], 7);
  EXPECT_EQ(lines[1]["seed"], 5);
  EXPECT_EQ(lines[1]["text"], JsonOutput({"run", "-n", "9", "-s", "5", "--json", "-p", "One day\n"})["text"]);
  EXPECT_FALSE(lines[2].contains("id"));
  EXPECT_EQ(lines[2]["generated_tokens"], 0);
  EXPECT_EQ(lines[3]["line"], 6);
}

TEST(RunParallel, StdinWorksToo) {
  const ScratchDirectory scratch;
  const std::string path = TextFile(scratch);
  const auto texts = [](const std::string& out) {
    std::vector<std::string> found;
    for (const Json& line : Lines(out)) {
      found.push_back(line["text"]);
    }
    return found;
  };
  EXPECT_EQ(texts(Output({"run", Demo(), "-n", "5", "--prompts", "-"}, ReadText(path))),
            texts(Output({"run", "-n", "5", "--prompts", path})));
}

TEST(RunParallel, SummaryCountsAll) {
  const ScratchDirectory scratch;
  const ProcessResult result = Phidias({"run", "-n", "20", "--lookup", "4", "--prompts", TextFile(scratch)});
  for (const char* words : {"prompts    5 of 5, up to 8 at a time", "generated  100 tokens", "overall", "lookup"}) {
    EXPECT_NE(result.err.find(words), std::string::npos) << words << "\n" << result.err;
  }
  EXPECT_EQ(Phidias({"run", "-q", "-n", "2", "--prompts", TextFile(scratch)}).err, "");
}

TEST(RunParallel, APromptThatFailsLeavesTheOthers) {
  const ScratchDirectory scratch;
  std::string endless;
  for (int i = 0; i < 600; ++i) {
    endless += " word";
  }
  WriteText(scratch.File("prompts.txt"), "One day\n" + endless + "\nThe dog\n" + endless + "\n");
  const ProcessResult result = Phidias({"run", "-n", "4", "--prompts", scratch.File("prompts.txt")});
  EXPECT_EQ(result.exit_code, 4) << result.err;
  const std::vector<Json> lines = Lines(result.out);
  ASSERT_EQ(lines.size(), 4U);
  EXPECT_EQ(lines[0]["generated_tokens"], 4);
  EXPECT_NE(lines[1]["error"].get<std::string>().find("the context has room for 512"), std::string::npos) << lines[1];
  EXPECT_FALSE(lines[1].contains("text"));
  EXPECT_EQ(lines[2]["generated_tokens"], 4);
  EXPECT_NE(result.err.find("2 of 4, 2 failed"), std::string::npos) << result.err;
  EXPECT_NE(result.err.find("2 of 4 prompts failed, the first in line 2: "), std::string::npos) << result.err;
}

class InterruptedParallel : public ::testing::TestWithParam<int> {};

TEST_P(InterruptedParallel, EndsCleanlyWithWhatThereIs) {
  const ScratchDirectory scratch;
  std::vector<Json> rows = {{{"prompt", "One day"}, {"max_tokens", 1}}};
  for (int i = 0; i < 20; ++i) {
    rows.push_back({{"prompt", "Once upon a time"}});
  }
  WriteText(scratch.File("prompts.jsonl"), JsonLines(rows));
  ProcessOptions options = Command({"run", "-n", "-1", "--ignore-eos", "--isa", "reference", "--parallel", "3",
                                    "--prompts", scratch.File("prompts.jsonl")});
  options.signal_on_output = GetParam();
  const ProcessResult result = Process::Run(options);
  EXPECT_EQ(result.exit_code, 130) << result.err;
  const std::vector<Json> lines = Lines(result.out);
  ASSERT_EQ(lines.size(), 4U) << "what was begun, and nothing else";
  EXPECT_EQ(lines[0]["finish_reason"], "length");
  for (size_t i = 1; i < lines.size(); ++i) {
    EXPECT_EQ(lines[i]["finish_reason"], "cancelled");
  }
  EXPECT_NE(result.err.find("prompts    1 of 21"), std::string::npos) << result.err;
  EXPECT_NE(result.err.find("interrupted"), std::string::npos) << result.err;
}

INSTANTIATE_TEST_SUITE_P(Signals, InterruptedParallel, ::testing::Values(SIGINT, SIGTERM));

TEST(RunParallel, AReaderThatGoesAwayEndsItQuietly) {
  const ScratchDirectory scratch;
  WriteText(scratch.File("prompts.jsonl"), JsonLines({{{"prompt", "One day"}, {"max_tokens", 1}},
                                                      {{"prompt", "One day"}, {"max_tokens", 20}},
                                                      {{"prompt", "One day"}}}));
  ProcessOptions options = Command({"run", "-n", "-1", "--ignore-eos", "--isa", "reference", "--parallel", "2",
                                    "--prompts", scratch.File("prompts.jsonl")});
  options.close_on_output = true;
  const ProcessResult result = Process::Run(options);
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(result.err, "");
}

TEST(RunParallel, AFullDiskIsAFailure) {
  const ScratchDirectory scratch;
  ProcessOptions options = Command({"run", "-n", "4", "--prompts", TextFile(scratch)});
  options.stdout_path = "/dev/full";
  const ProcessResult result = Process::Run(options);
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_NE(result.err.find("phidias run: cannot write to stdout"), std::string::npos) << result.err;
}

TEST(RunParallel, BadFilesAreRefusedBeforeAnythingIsGenerated) {
  const ScratchDirectory scratch;
  const std::string path = scratch.File("prompts");
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "has no prompts"},
      {"\n \n", "has no prompts"},
      {"{\"prompt\": \"a\"}\n{\"promt\": \"b\"}\n", "line 2: has no \"prompt\" with a string"},
      {"{\"prompt\": 3}\n", "line 1: has no \"prompt\" with a string"},
      {"{\"prompt\": [\"a\"]}\n", "line 1: has no \"prompt\" with a string"},
      {"{\"prompt\": \"a\"}\n\nb\n", "line 3: is not one JSON object"},
      {"{\"prompt\": \"a\"\n}\n", "line 1: is not one JSON object"},
      {"{\"prompt\": \"a\"} {}\n", "line 1: is not one JSON object"},
      {"[{\"prompt\": \"a\"}]", "is a JSON list"},
      {"{\"prompt\": \"\"}\n", "line 1: the prompt is empty"},
      {"{\"prompt\": \"a\", \"id\": true}\n", "\"id\" is neither"},
      {"{\"prompt\": \"a\", \"seed\": -1}\n", "\"seed\" must be a whole number"},
      {"{\"prompt\": \"a\", \"seed\": 9223372036854775808}\n", "\"seed\" must be a whole number"},
      {"{\"prompt\": \"a\", \"max_tokens\": 1.5}\n", "\"max_tokens\" must be a whole number"},
      {"{\"prompt\": \"a\", \"max_tokens\": 4294967296}\n", "\"max_tokens\" must be a whole number"},
      {"fine\nnot \xff fine\n", "line 2: "},
      {"{\"prompt\": \"a\", \"x\": " + std::string(200000, '[') + "}\n", "line 1: is not one JSON object"},
  };
  for (const auto& [content, message] : cases) {
    SCOPED_TRACE(content.substr(0, 80));
    WriteText(path, content);
    ExpectFailure({"run", "--prompts", path}, 3, message);
  }
  ExpectFailure({"run", "--prompts", scratch.path()}, 3, "is a directory");
  ExpectFailure({"run", "--prompts", "/no/such/file"}, 3, "/no/such/file");
}

TEST(RunParallel, RefusesAPromptBesideTheFile) {
  const ScratchDirectory scratch;
  const std::string path = TextFile(scratch);
  ExpectFailure({"run", "--prompts", path, "-p", "a"}, 2, "given twice");
  ExpectFailure({"run", "--prompts", path, "-f", path}, 2, "given twice");
  ExpectFailure({"run", "--prompts", path, Demo(), "a"}, 2, "given twice");
  ExpectFailure({"run", "--prompts", path, "-m", Demo(), "a"}, 2, "given twice");
  ExpectFailure({"run", "--prompts", path, "a"}, 3, "no such file");
}

}  // namespace
}  // namespace phidias::testing
