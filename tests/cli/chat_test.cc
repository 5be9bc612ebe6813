// `phidias chat`: a conversation through a pipe and on a terminal of its own. What the model is told is checked against
// `phidias run` with the prompt spelled out; that the kept KV cache changes nothing, against a fresh process.

#include <sys/stat.h>

#include "tests/cli/cli_test_util.h"
#include "tests/support/terminal.h"

namespace phidias::testing {
namespace {

std::vector<std::string> Chat(std::vector<std::string> more) {
  more.insert(more.begin(), {"chat", "--temp", "0"});
  return more;
}

// Answers of a chat, one a line. The demo model's greedy answers to these have no newline within so many tokens.
std::vector<std::string> Lines(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) {
    lines.push_back(line);
  }
  return lines;
}

// What `run` says to the prompt, without the blank that the forms make it begin with, newline at the end as chat has.
std::string RunAnswer(const std::string& prompt, const std::string& tokens, const std::string& stop) {
  std::string text = Output({"run", "-q", "-n", tokens, "--stop", stop, prompt});
  text.erase(0, text.starts_with(' ') ? 1 : 0);
  return text.ends_with('\n') ? text : text + "\n";
}

TEST(Chat, TellsTheModelTheWholeConversation) {
  const std::string first = RunAnswer("Instruct: Lily had a dog.\nOutput:", "12", "\nInstruct:");
  const std::string said = first.substr(0, first.size() - 1);
  const std::string second =
      RunAnswer("Instruct: Lily had a dog.\nOutput: " + said + "\nInstruct: And a cat.\nOutput:", "12", "\nInstruct:");
  EXPECT_EQ(Output(Chat({"-q", "-n", "12"}), "Lily had a dog.\nAnd a cat.\n"), first + second);
}

TEST(Chat, OtherFormatsAndASystemPrompt) {
  EXPECT_EQ(Output(Chat({"-q", "-n", "12", "--prompt-format", "chat", "--system", "They are in a park."}), "Hello!\n"),
            RunAnswer("They are in a park.\nAlice: Hello!\nBob:", "12", "\nAlice:"));
  EXPECT_EQ(Output(Chat({"-q", "-n", "12"}), "/set format raw\nOnce upon a time\n"),
            Output({"run", "-q", "-n", "12", "Once upon a time"}) + "\n");
}

TEST(Chat, SeveralLinesAreOneMessage) {
  const std::string expected = RunAnswer("Instruct: Tom ran.\nHe fell.\nOutput:", "8", "\nInstruct:");
  for (const std::string input :
       {"Tom ran.\\\nHe fell.\n", "\"\"\"Tom ran.\nHe fell.\"\"\"\n", "\"\"\"Tom ran.\nHe fell.",
        "\n  \n\"\"\"Tom ran.\nHe fell.\"\"\"\n/bye\nnever said\n"}) {
    EXPECT_EQ(Output(Chat({"-q", "-n", "8"}), input), expected) << input;
  }
}

TEST(Chat, TheCacheIsKeptAndChangesNothing) {
  const ScratchDirectory scratch;
  const std::string file = scratch.File("talk.json");
  const ProcessResult whole =
      Phidias(Chat({"-n", "24"}), "Lily had a dog.\nAnd a cat.\n/save " + file + "\nWhat did they do?\n");
  ASSERT_EQ(whole.exit_code, 0) << whole.err;
  // A process that has computed nothing yet says the same, and says that it has.
  const ProcessResult fresh = Phidias(Chat({"-n", "24"}), "/load " + file + "\nWhat did they do?\n");
  ASSERT_EQ(fresh.exit_code, 0) << fresh.err;
  ASSERT_FALSE(fresh.out.empty());
  EXPECT_TRUE(whole.out.ends_with(fresh.out)) << whole.out << "\n---\n" << fresh.out;
  EXPECT_NE(fresh.err.find("; 0 of "), std::string::npos) << fresh.err;
  const std::vector<std::string> notes = Lines(whole.err);
  const std::string last = notes.at(notes.size() - 1);
  const size_t at = last.find(" s; ");
  ASSERT_NE(at, std::string::npos) << last;
  int kept = 0;
  int prompt = 0;
  ASSERT_EQ(std::sscanf(last.c_str() + at, " s; %d of %d prompt tokens kept", &kept, &prompt), 2) << last;
  EXPECT_GT(kept, prompt / 2) << last;
  EXPECT_LT(kept, prompt) << last;
}

TEST(Chat, SaveAndLoad) {
  const ScratchDirectory scratch;
  const std::string file = scratch.File("talk.json");
  const std::string text = Output(Chat({"-q", "-n", "8", "--system", "Be é."}), "Hello\n/save " + file + "\n");
  const nlohmann::json saved = ReadJson(file);
  ASSERT_EQ(saved["messages"].size(), 3U) << saved;
  EXPECT_EQ(saved["messages"][0], nlohmann::json({{"role", "system"}, {"content", "Be é."}}));
  EXPECT_EQ(saved["messages"][1], nlohmann::json({{"role", "user"}, {"content", "Hello"}}));
  EXPECT_EQ(saved["messages"][2]["content"].get<std::string>() + "\n", text);
  // Forgotten, but for the system prompt.
  Output(Chat({"-q", "-n", "8"}), "/load " + file + "\n/reset\n/save " + file + "2\n");
  EXPECT_EQ(ReadJson(file + "2")["messages"].size(), 1U);
}

TEST(Chat, FilesThatAreNoConversation) {
  const ScratchDirectory scratch;
  const std::string file = scratch.File("talk.json");
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "no JSON"},
      {"{\"messages\": [}", "no JSON"},
      {"[]", "the list \"messages\""},
      {"{\"messages\": {}}", "the list \"messages\""},
      {"{\"messages\": [7]}", "messages[0]"},
      {"{\"messages\": [{\"role\": \"user\"}]}", "messages[0]"},
      {"{\"messages\": [{\"role\": \"user\", \"content\": 5}]}", "messages[0]"},
      {"{\"messages\": [{\"role\": \"tool\", \"content\": \"\"}]}", "messages[0].role is \"tool\""},
      {R"({"messages": [{"role": "user", "content": ""}, {"role": "system", "content": "x"}]})", "messages[1].role"}};
  for (const auto& [text, message] : cases) {
    WriteText(file, text);
    ExpectFailure(Chat({}), 3, message, "/load " + file + "\n");
  }
  ExpectFailure(Chat({}), 3, "/no/such/file", "/load /no/such/file\n");
  ExpectFailure(Chat({}), 3, "/no/such", "/save /no/such/directory/file\n");
  ExpectFailure(Chat({}), 2, "of which file", "/save\n");
}

TEST(Chat, Settings) {
  const ProcessResult shown = Phidias(Chat({"-q"}), "/set top-p 0.5\n/set seed 7\n/set system Be brief.\n/set\n");
  EXPECT_EQ(shown.exit_code, 0) << shown.err;
  EXPECT_EQ(shown.out, "");
  for (const char* part :
       {"top-p             0.5\n", "seed              7\n", "\"Be brief.\"", "format            qa\n"}) {
    EXPECT_NE(shown.err.find(part), std::string::npos) << part << shown.err;
  }
  const std::string prompt = "Lily had a dog.\n";
  EXPECT_EQ(Output(Chat({"-q"}), "/set predict 5\n" + prompt), Output(Chat({"-q", "-n", "5"}), prompt));
  EXPECT_EQ(Output({"chat", "-q", "-n", "20"}, "/set temp 0.9\n/set seed 3\n" + prompt),
            Output({"chat", "-q", "-n", "20", "--temp", "0.9", "-s", "3"}, prompt));
  const std::vector<std::pair<std::string, std::string>> wrong = {
      {"temp warm", "warm"},   {"temp -1", "temperature"}, {"top-k 1.5", "1.5"}, {"seed -1", "-1"},
      {"format html", "html"}, {"colour blue", "colour"},  {"predict -2", "-2"}, {"temp", ""}};
  for (const auto& [setting, message] : wrong) {
    ExpectFailure(Chat({}), 2, message, "/set " + setting + "\n");
  }
  ExpectFailure(Chat({}), 2, "/frobnicate", "/frobnicate\n");
}

TEST(Chat, AFullContextLeavesTheOldestTurnsOut) {
  std::string input;
  for (int i = 0; i < 6; ++i) {
    input += "Lily had a red ball and a blue ball.\n";
  }
  const ProcessResult result = Phidias(Chat({"-q", "-c", "96", "-n", "16"}), input);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_NE(result.err.find("the context is full: the oldest"), std::string::npos) << result.err;
  // Saved is everything.
  const ScratchDirectory scratch;
  const std::string file = scratch.File("talk.json");
  Output(Chat({"-q", "-c", "96", "-n", "16"}), input + "/save " + file + "\n");
  EXPECT_EQ(ReadJson(file)["messages"].size(), 12U);
}

TEST(Chat, AMessageThatDoesNotFit) {
  std::string text;
  for (int i = 0; i < 200; ++i) {
    text += "word ";
  }
  ExpectFailure(Chat({"-c", "64"}), 4, "the context has room for 64", text + "\n");
  ExpectFailure(Chat({"-c", "100000"}), 2, "100000", "x\n");
  ExpectFailure(Chat({}), 2, "UTF-8", "a\xff\n");
}

TEST(Chat, NothingSaidIsFine) {
  EXPECT_EQ(Output(Chat({})), "");
  EXPECT_EQ(Output(Chat({}), "\n\n/bye\n"), "");
  ExpectFailure({"chat", "--stop", ""}, 2, "--stop");
  ExpectFailure({"chat", "--prompt-format", "alpaca"}, 2, "alpaca");
  ExpectFailure({"chat", "-m", "/no/such/model"}, 3, "/no/such/model");
}

TEST(Chat, SignalsEndAScript) {
  for (const int signal : {SIGINT, SIGTERM}) {
    ProcessOptions options = Command(Chat({"-q", "--isa", "reference", "-t", "1"}));
    options.input = "Once upon a time\nand then\n";
    options.signal_on_output = signal;
    const ProcessResult result = Process::Run(options);
    EXPECT_EQ(result.exit_code, 130) << result.err;
    EXPECT_NE(result.err.find("stopped"), std::string::npos) << result.err;
  }
}

std::vector<std::string> OnTerminal(const std::string& history) {
  return {PHIDIAS_PROGRAM, "chat", "-m", Demo(), "--temp", "0", "--isa", "reference", "-t", "1", "--history", history};
}

TEST(Chat, CtrlCStopsTheAnswerAndNotTheProgram) {
  TerminalProgram chat(OnTerminal(""));
  ASSERT_TRUE(chat.started());
  ASSERT_TRUE(chat.WaitFor("/help, /bye")) << chat.shown();
  ASSERT_TRUE(chat.WaitForPrompt());
  chat.Type("Once upon a time\r");
  ASSERT_TRUE(chat.WaitFor("time\r\n"));
  ASSERT_TRUE(chat.WaitFor(" ")) << "the answer's first words";
  chat.Type("\x03");
  ASSERT_TRUE(chat.WaitFor("(stopped")) << chat.shown();
  ASSERT_TRUE(chat.WaitForPrompt());
  chat.Type("half a line");
  ASSERT_TRUE(chat.WaitFor("half a line"));
  chat.Type("\x03");  // at the prompt it drops the line
  ASSERT_TRUE(chat.WaitForPrompt());
  chat.Type("/set predict 3\r");
  ASSERT_TRUE(chat.WaitForPrompt());
  chat.Type("And then?\r");
  ASSERT_TRUE(chat.WaitFor("(ended after 3 tokens")) << chat.shown();
  ASSERT_TRUE(chat.WaitForPrompt());
  chat.Type("/frobnicate\r");  // told, and the talk goes on
  ASSERT_TRUE(chat.WaitFor("no command"));
  ASSERT_TRUE(chat.WaitForPrompt());
  chat.Type("\x04");
  EXPECT_EQ(chat.Wait(), 0) << chat.shown();
}

TEST(Chat, LinesAreEditedAndRemembered) {
  const ScratchDirectory scratch;
  const std::string history = scratch.File("history");
  {
    TerminalProgram chat(OnTerminal(history));
    ASSERT_TRUE(chat.WaitForPrompt()) << chat.shown();
    chat.Type("/sxx\x7f\x7f\x65t predict 2\r");  // two letters taken back
    ASSERT_TRUE(chat.WaitForPrompt());
    chat.Type("\x1b[A");  // up
    ASSERT_TRUE(chat.WaitFor("/set predict 2")) << chat.shown();
    chat.Type(
        "\x7f"
        "4\r/bye\r");
    EXPECT_EQ(chat.Wait(), 0) << chat.shown();
  }
  struct stat info = {};
  ASSERT_EQ(stat(history.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600U) << "what was typed is nobody else's business";
  TerminalProgram chat(OnTerminal(history));
  ASSERT_TRUE(chat.WaitForPrompt());
  chat.Type("\x1b[A\x1b[A");
  ASSERT_TRUE(chat.WaitFor("/set predict 4")) << chat.shown();
  chat.Signal(SIGTERM);
  EXPECT_EQ(chat.Wait(), 130) << chat.shown();
}

}  // namespace
}  // namespace phidias::testing
