// `phidias run` against the reference's greedy text (tests/golden/demo-golden.json), and all the ways to give it a
// prompt, to stop it and to misuse it.

#include <fcntl.h>

#include <algorithm>

#include "tests/cli/cli_test_util.h"

namespace phidias::testing {
namespace {

constexpr const char* kPrompt = "Once upon a time, there was a";

struct Golden {
  std::string prompt;
  std::string text;
  std::vector<int> prompt_ids;
  std::vector<int> ids;
};

std::vector<Golden> Goldens() {
  std::vector<Golden> goldens;
  const auto file = ReadJson(Root() + "/tests/golden/demo-golden.json");
  for (const auto& entry : file["prompts"]) {
    goldens.push_back({entry["prompt"], entry["greedy_text"], entry["prompt_ids"], entry["greedy_ids"]});
  }
  return goldens;
}

std::string GreedyText() {
  for (const Golden& golden : Goldens()) {
    if (golden.prompt == kPrompt) {
      return golden.text;
    }
  }
  ADD_FAILURE() << "no such prompt among the goldens";
  return {};
}

TEST(Run, GreedyTextEqualsTheReference) {
  for (const Golden& golden : Goldens()) {
    const std::string count = std::to_string(golden.ids.size());
    EXPECT_EQ(Output({"run", "-m", Demo(), "-n", count, golden.prompt}), golden.text);
  }
}

TEST(Run, JsonHoldsTheSameAndItsMeasurements) {
  const Golden golden = Goldens()[0];
  const auto json = JsonOutput({"run", "-m", Demo(), "-n", "64", "--json", "-p", golden.prompt});
  EXPECT_EQ(json["text"], golden.text);
  EXPECT_EQ(json["ids"], golden.ids);
  EXPECT_EQ(json["prompt_ids"], golden.prompt_ids);
  EXPECT_EQ(json["prompt_tokens"], golden.prompt_ids.size());
  EXPECT_EQ(json["generated_tokens"], golden.ids.size());
  EXPECT_EQ(json["finish_reason"], "length");
  EXPECT_EQ(json["seed"], nullptr);
  EXPECT_EQ(json["model"], Demo());
  EXPECT_TRUE(json["backend"].get<std::string>().starts_with("cpu"));
  const double seconds = json["prompt_seconds"].get<double>() + json["generate_seconds"].get<double>();
  const double tokens = static_cast<double>(golden.prompt_ids.size() + golden.ids.size());
  EXPECT_NEAR(json["tokens_per_second"].get<double>(), tokens / seconds, 1e-6 * tokens / seconds);
  EXPECT_NEAR(json["prompt_tokens_per_second"].get<double>() * json["prompt_seconds"].get<double>(),
              static_cast<double>(golden.prompt_ids.size()), 1e-6);
  // The first token belongs to the prompt's time.
  EXPECT_NEAR(json["generate_tokens_per_second"].get<double>() * json["generate_seconds"].get<double>(),
              static_cast<double>(golden.ids.size() - 1), 1e-6);
}

TEST(Run, EveryWayToGiveThePromptGivesTheSameText) {
  const std::string text = GreedyText();
  const ScratchDirectory scratch;
  WriteText(scratch.File("prompt.txt"), kPrompt);
  WriteText(scratch.File("line.txt"), std::string(kPrompt) + "\n");
  const std::vector<std::string> n = {"run", "-n", "64"};
  const auto with = [&n](std::vector<std::string> more) {
    more.insert(more.begin(), n.begin(), n.end());
    return more;
  };
  EXPECT_EQ(Output(with({kPrompt})), text) << "demo model by default";
  EXPECT_EQ(Output(with({Demo(), kPrompt})), text);
  EXPECT_EQ(Output(with({Demo(), "-p", kPrompt})), text);
  EXPECT_EQ(Output(with({"-m", Demo(), "--", kPrompt})), text);
  EXPECT_EQ(Output(with({"-f", scratch.File("prompt.txt")})), text);
  EXPECT_EQ(Output(with({"-f", scratch.File("line.txt")})), text) << "a final newline is not part of the prompt";
  EXPECT_EQ(Output(with({}), kPrompt), text) << "stdin";
  EXPECT_EQ(Output(with({Demo()}), std::string(kPrompt) + "\n"), text) << "stdin";
  EXPECT_EQ(Output(with({"-f", "-"}), kPrompt), text);
  EXPECT_EQ(Output(with({"-e", "-p", "\\x4fnce upon a time, there was a"})), text);
  EXPECT_EQ(Output(with({kPrompt}), "not looked at"), text);
}

TEST(Run, ThreadsBatchAndContextDontChangeTheText) {
  const std::string text = GreedyText();
  EXPECT_EQ(Output({"run", "-n", "64", "-t", "1", kPrompt}), text);
  EXPECT_EQ(Output({"run", "-n", "64", "-t", "3", "-b", "2", "-c", "200", kPrompt}), text);
  EXPECT_EQ(Output({"run", "-n", "64", "--isa", "portable", kPrompt}), text);
}

TEST(Run, LookupDoesntChangeTheText) {
  for (const Golden& golden : Goldens()) {
    const std::string count = std::to_string(golden.ids.size());
    EXPECT_EQ(Output({"run", "--lookup", "8", "-n", count, golden.prompt}), golden.text);
  }
  const std::vector<std::string> sampled = {"run", "-s", "5", "--repeat-penalty", "1.2", "-n", "60", kPrompt};
  std::vector<std::string> guessed = sampled;
  guessed.insert(guessed.end(), {"--lookup", "4", "--isa", "portable", "-t", "1"});
  EXPECT_EQ(Output(guessed), Output(sampled));
}

TEST(Run, LookupTellsHowOftenItWasRight) {
  // Three times the same words: what follows them the third time is what followed before.
  const std::string twice =
      "Lily saw a big red dog in the park. Lily saw a big red dog in the park. Lily saw a big red";
  const auto json = JsonOutput({"run", "--lookup", "8", "-n", "24", "--json", twice});
  const auto plain = JsonOutput({"run", "-n", "24", "--json", twice});
  EXPECT_EQ(json["ids"], plain["ids"]);
  EXPECT_EQ(plain["drafted_tokens"], 0);
  EXPECT_GT(json["accepted_tokens"], 0);
  EXPECT_LE(json["accepted_tokens"], json["drafted_tokens"]);
  const ProcessResult loud = Phidias({"run", "--lookup", "8", "-n", "24", twice});
  const std::string line =
      "accepted " + json["accepted_tokens"].dump() + " of " + json["drafted_tokens"].dump() + " guessed tokens (";
  EXPECT_NE(loud.err.find(line), std::string::npos) << loud.err;
  EXPECT_EQ(Phidias({"run", "-n", "24", twice}).err.find("lookup"), std::string::npos);
}

TEST(Run, AnyNumberOfThreadsThatThereCanBe) {
  const std::string text = Output({"run", "-n", "8", kPrompt});
  EXPECT_EQ(Output({"run", "-n", "8", "-t", "0", kPrompt}), text) << "one per processor";
  EXPECT_EQ(Output({"run", "-n", "8", "-t", "37", kPrompt}), text);
  ExpectFailure({"run", "-t", "10000", kPrompt}, 2, "10000");
}

TEST(Run, MoreTokensThanTheContextHasEndWithIt) {
  const auto json = JsonOutput({"run", "-n", "100000", "--ignore-eos", "--json", "--lookup", "16", kPrompt});
  EXPECT_EQ(json["finish_reason"], "context");
  EXPECT_EQ(json["prompt_tokens"].get<int>() + json["generated_tokens"].get<int>(), 513);
}

TEST(Run, PromptsInBracketsArriveWhole) {
  for (const std::string prompt : {"[a, b]", "{}", "--", "-1", "%%", "\"quoted\"", " blank "}) {
    EXPECT_EQ(JsonOutput({"run", "-n", "0", "--json", "-p", prompt})["prompt_ids"],
              JsonOutput({"tokenize", "-p", prompt}))
        << prompt;
  }
}

TEST(Run, EscapesOnlyWhenAskedFor) {
  const auto ids = [](std::vector<std::string> more) {
    more.insert(more.begin(), {"run", "-n", "0", "--json"});
    return JsonOutput(more)["prompt_ids"];
  };
  EXPECT_EQ(ids({"-e", "a\\n\\tb\\\\"}), ids({"a\n\tb\\"}));
  EXPECT_NE(ids({"a\\nb"}), ids({"a\nb"}));
  ExpectFailure({"run", "-e", "a\\qb"}, 2, "\"\\\\qb\" at byte 1 is no escape");
  ExpectFailure({"run", "-e", "a\\"}, 2, "is no escape");
}

TEST(Run, PromptFormats) {
  const auto ids = [](const std::string& format, const std::string& prompt) {
    return JsonOutput({"run", "-n", "0", "--json", "--prompt-format", format, "-p", prompt})["prompt_ids"];
  };
  EXPECT_EQ(ids("qa", "Why?"), ids("raw", "Instruct: Why?\nOutput:"));
  EXPECT_EQ(ids("chat", "Why?"), ids("raw", "Alice: Why?\nBob:"));
  // What a user types is text; in a raw prompt the special token is one.
  EXPECT_EQ(ids("raw", "<|endoftext|>").size(), 1U);
  EXPECT_GT(ids("qa", "<|endoftext|>").size(), ids("raw", "Instruct: <|endoftext|>\nOutput:").size());
  ExpectFailure({"run", "--prompt-format", "alpaca", "x"}, 2, "alpaca");
}

TEST(Run, QaStopsAtTheNextInstruction) {
  const auto json = JsonOutput({"run", "-n", "400", "--json", "--prompt-format", "qa", "Tell me a story."});
  EXPECT_EQ(json["text"].get<std::string>().find("\nInstruct:"), std::string::npos);
}

TEST(Run, StopStringsEndTheTextBeforeThem) {
  const std::string text = GreedyText();
  const std::string stop = "outside";
  ASSERT_NE(text.find(stop), std::string::npos);
  const auto json = JsonOutput({"run", "-n", "64", "--json", "--stop", "never there", "--stop", stop, kPrompt});
  EXPECT_EQ(json["text"], text.substr(0, text.find(stop)));
  EXPECT_EQ(json["finish_reason"], "stop");
  EXPECT_EQ(Output({"run", "-n", "64", "--stop", stop, kPrompt}), text.substr(0, text.find(stop)));
  EXPECT_EQ(Output({"run", "-n", "64", "-e", "--stop", "\\n\\n", kPrompt}), text.substr(0, text.find("\n\n")));
  ExpectFailure({"run", "--stop", "", kPrompt}, 2, "--stop");
}

TEST(Run, SeedsDecideTheText) {
  const auto text = [](std::vector<std::string> more) {
    more.insert(more.begin(), {"run", "-n", "40", "-q", kPrompt});
    return Output(more);
  };
  const std::string seed_1 = text({"-s", "1"});
  EXPECT_EQ(text({"--seed", "1"}), seed_1);
  EXPECT_EQ(text({"-s", "1", "--temp", "0.8"}), seed_1) << "the default temperature of sampling";
  EXPECT_NE(text({"-s", "2"}), seed_1);
  EXPECT_EQ(text({"-s", "1", "--temp", "0"}), text({})) << "greedy";
  EXPECT_EQ(text({"-s", "1", "--top-k", "1"}), text({})) << "one candidate";
}

TEST(Run, ARandomSeedIsShownAndReproduces) {
  const auto json = JsonOutput({"run", "-n", "30", "--json", "--temp", "1", kPrompt});
  ASSERT_TRUE(json["seed"].is_number_unsigned()) << json["seed"];
  const std::string seed = std::to_string(json["seed"].get<uint64_t>());
  EXPECT_EQ(Output({"run", "-n", "30", "--temp", "1", "-s", seed, kPrompt}), json["text"].get<std::string>());
  const ProcessResult result = Phidias({"run", "-n", "1", "-s", "77", kPrompt});
  EXPECT_NE(result.err.find("seed 77"), std::string::npos) << result.err;
}

TEST(Run, VariablesStandInForFlags) {
  ProcessOptions options = Command({"run", "--json", kPrompt});
  options.environment = {"PHIDIAS_PREDICT=3", "PHIDIAS_TEMP=0.5", "PHIDIAS_SEED=9", "PHIDIAS_THREADS=1",
                         "PHIDIAS_ISA=portable"};
  auto json = nlohmann::json::parse(Process::Run(options).out);
  EXPECT_EQ(json["generated_tokens"], 3);
  EXPECT_EQ(json["temperature"], 0.5);
  EXPECT_EQ(json["seed"], 9);
  EXPECT_NE(json["backend"].get<std::string>().find("portable"), std::string::npos);
  options.arguments.insert(options.arguments.end(), {"-n", "2"});
  EXPECT_EQ(nlohmann::json::parse(Process::Run(options).out)["generated_tokens"], 2) << "the flag wins";
  options.environment = {"PHIDIAS_TEMP=warm"};
  const ProcessResult result = Process::Run(options);
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_NE(result.err.find("PHIDIAS_TEMP"), std::string::npos) << result.err;
}

TEST(Run, SummaryGoesToStderrUnlessQuiet) {
  const ProcessResult loud = Phidias({"run", "-n", "4", kPrompt});
  for (const char* word :
       {"model", "backend", "greedy", "load", "prompt", "generated", "overall", "tokens/s", "finish"}) {
    EXPECT_NE(loud.err.find(word), std::string::npos) << word << "\n" << loud.err;
  }
  const ProcessResult quiet = Phidias({"run", "-q", "-n", "4", kPrompt});
  EXPECT_EQ(quiet.err, "");
  EXPECT_EQ(quiet.out, loud.out);
}

TEST(Run, NothingToGenerateIsFine) {
  const ProcessResult result = Phidias({"run", "-n", "0", kPrompt});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.out, "");
  EXPECT_NE(result.err.find("0 tokens"), std::string::npos) << result.err;
}

TEST(Run, EndsWithTheContext) {
  const auto json = JsonOutput({"run", "-n", "-1", "-c", "16", "--ignore-eos", "--json", kPrompt});
  EXPECT_EQ(json["finish_reason"], "context");
  // The last token generated needs no position of its own.
  EXPECT_EQ(json["prompt_tokens"].get<int>() + json["generated_tokens"].get<int>(), 17);
}

// On a terminal the shell's prompt must not stick to the text; a file gets the text's bytes alone.
TEST(Run, ATerminalGetsANewlineAtTheEnd) {
  const int master = posix_openpt(O_RDWR | O_NOCTTY);
  ASSERT_GE(master, 0);
  ASSERT_EQ(grantpt(master) | unlockpt(master), 0);
  ProcessOptions options = Command({"run", "-q", "-n", "4", kPrompt});
  options.stdout_path = ptsname(master);
  // Held open so that what was written stays readable after the program's end.
  const int slave = open(options.stdout_path.c_str(), O_RDWR | O_NOCTTY);
  ASSERT_EQ(Process::Run(options).exit_code, 0);
  char buffer[4096];
  const ssize_t got = read(master, buffer, sizeof buffer);
  close(slave);
  close(master);
  ASSERT_GT(got, 0);
  EXPECT_EQ(std::string(buffer, static_cast<size_t>(got)), Output({"run", "-n", "4", kPrompt}) + "\r\n");
}

class Interrupted : public ::testing::TestWithParam<int> {};

TEST_P(Interrupted, EndsCleanlyWithASummary) {
  ProcessOptions options = Command({"run", "-n", "-1", "--ignore-eos", "--isa", "reference", kPrompt});
  options.signal_on_output = GetParam();
  const ProcessResult result = Process::Run(options);
  EXPECT_EQ(result.exit_code, 130) << result.err;
  EXPECT_NE(result.out, "");
  EXPECT_NE(result.err.find("interrupted"), std::string::npos) << result.err;
}

// Half a minute of prompt with the slowest kernels on one thread; the signal comes when the program is ready for it.
TEST_P(Interrupted, EndsInTheMiddleOfALongPrompt) {
  std::string prompt;
  for (int i = 0; i < 500; ++i) {
    prompt += " word";
  }
  ProcessOptions options = Command({"run", "--isa", "reference", "-t", "1", "-n", "8", prompt});
  options.signal_when_caught = GetParam();
  const ProcessResult result = Process::Run(options);
  EXPECT_EQ(result.exit_code, 130) << result.err;
  EXPECT_EQ(result.out, "");
  EXPECT_NE(result.err.find("generated  0 tokens"), std::string::npos) << result.err;
  EXPECT_NE(result.err.find("interrupted"), std::string::npos) << result.err;
}

INSTANTIATE_TEST_SUITE_P(Signals, Interrupted, ::testing::Values(SIGINT, SIGTERM));

TEST(Run, AReaderThatGoesAwayEndsItQuietly) {
  ProcessOptions options = Command({"run", "-n", "-1", "--ignore-eos", "--isa", "reference", kPrompt});
  options.close_on_output = true;
  const ProcessResult result = Process::Run(options);
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(result.err, "");
}

TEST(Run, AFullDiskIsAFailure) {
  ProcessOptions options = Command({"run", "-n", "8", kPrompt});
  options.stdout_path = "/dev/full";
  const ProcessResult result = Process::Run(options);
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_NE(result.err.find("phidias run: cannot write to stdout"), std::string::npos) << result.err;
}

TEST(Run, RefusesNoPromptOrAnEmptyOne) {
  ExpectFailure({"run"}, 2, "prompt is empty");
  ExpectFailure({"run"}, 2, "prompt is empty", "\n");
  ExpectFailure({"run", "-p", ""}, 2, "prompt is empty");
  ExpectFailure({"run", ""}, 2, "prompt is empty");
  ExpectFailure({"run", Demo()}, 2, "prompt is empty");
}

TEST(Run, RefusesAPromptGivenTwice) {
  ExpectFailure({"run", "-m", Demo(), "a", "-p", "b"}, 2, "given twice");
  ExpectFailure({"run", "-p", "a", "-f", "b"}, 2, "given twice");
  ExpectFailure({"run", Demo(), "a", "-f", "b"}, 2, "given twice");
  ExpectFailure({"run", "-p", "a", "-p", "b"}, 2, "--prompt");
}

TEST(Run, RefusesAModelGivenTwice) {
  ExpectFailure({"run", "-m", Demo(), Demo(), "a"}, 2, "the model is given twice");
}

TEST(Run, RefusesAPathThatIsNotThere) {
  ExpectFailure({"run", "models/no-such-model"}, 3, "no such file or directory");
  ExpectFailure({"run", "phi-2.gguf"}, 3, "give it with -p");
  ExpectFailure({"run", "-f", "/no/such/prompt.txt"}, 3, "/no/such/prompt.txt");
}

TEST(Run, RefusesAModelWithoutATokenizer) {
  ExpectFailure({"run", "-m", Tiny(), "hello"}, 3, "tokenizer");
}

TEST(Run, RefusesAPromptThatIsTooLong) {
  std::string prompt;
  for (int i = 0; i < 600; ++i) {
    prompt += " word";
  }
  ExpectFailure({"run", prompt}, 4, "the context has room for 512");
  ExpectFailure({"run", "-c", "4", kPrompt}, 4, "the context has room for 4");
}

TEST(Run, RefusesTextThatIsNoUtf8) {
  ExpectFailure({"run", "-p", "a\xff"}, 2, "UTF-8");
}

TEST(Run, RefusesBadNumbers) {
  const std::vector<std::pair<std::string, std::string>> cases = {{"-n", "12x"},
                                                                  {"-n", ""},
                                                                  {"-n", "-2"},
                                                                  {"-n", "99999999999999999999"},
                                                                  {"-n", "1.5"},
                                                                  {"-c", "-1"},
                                                                  {"-c", "513"},
                                                                  {"-t", "-1"},
                                                                  {"-t", "2000"},
                                                                  {"-t", "0x2"},
                                                                  {"-b", "0"},
                                                                  {"--lookup", "-1"},
                                                                  {"--lookup", "65"},
                                                                  {"--parallel", "0"},
                                                                  {"--parallel", "2000"},
                                                                  {"-s", "-2"},
                                                                  {"-s", "abc"},
                                                                  {"--temp", "nan"},
                                                                  {"--temp", "inf"},
                                                                  {"--temp", "-1"},
                                                                  {"--temp", "1e99"},
                                                                  {"--top-k", "-1"},
                                                                  {"--top-p", "0"},
                                                                  {"--top-p", "1.1"},
                                                                  {"--min-p", "2"},
                                                                  {"--repeat-penalty", "0"},
                                                                  {"--presence-penalty", "1e400"},
                                                                  {"--frequency-penalty", "--"},
                                                                  {"--repeat-last-n", " 3"},
                                                                  {"--isa", "sse9"}};
  for (const auto& [flag, value] : cases) {
    SCOPED_TRACE(flag + " " + value);
    ExpectFailure({"run", flag, value, kPrompt}, 2, "");
  }
}

}  // namespace
}  // namespace phidias::testing
