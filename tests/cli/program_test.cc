// The program's frame: help, version, unknown verbs and flags, where it looks for its model. Every verb must refuse
// what it can't use with one line on stderr and the exit code that --help promises.

#include "tests/cli/cli_test_util.h"

namespace phidias::testing {
namespace {

TEST(Program, HelpNamesVerbsVariablesAndExitCodes) {
  for (const char* flag : {"--help", "-h"}) {
    const std::string help = Output({flag});
    for (const char* word : {"run", "tokenize", "inspect", "trace", "PHIDIAS_MODEL", "Exit codes", "130"}) {
      EXPECT_NE(help.find(word), std::string::npos) << word;
    }
  }
}

TEST(Program, EveryVerbHasHelpWithExamples) {
  for (const std::string verb : {"run", "tokenize", "inspect", "trace"}) {
    const std::string help = Output({verb, "--help"});
    EXPECT_NE(help.find("Usage: phidias " + verb), std::string::npos) << help;
    EXPECT_NE(help.find("Examples:"), std::string::npos) << help;
    EXPECT_NE(help.find("PHIDIAS_MODEL"), std::string::npos) << help;
  }
}

TEST(Program, HelpNamesTheVariableOfAFlag) {
  const std::string help = Output({"run", "--help"});
  for (const char* name : {"PHIDIAS_THREADS", "PHIDIAS_CTX_SIZE", "PHIDIAS_BATCH_SIZE", "PHIDIAS_TEMP", "PHIDIAS_SEED",
                           "PHIDIAS_ISA", "PHIDIAS_PREDICT", "PHIDIAS_TOP_K"}) {
    EXPECT_NE(help.find(name), std::string::npos) << name;
  }
}

TEST(Program, Version) {
  const std::string version = Output({"--version"});
  EXPECT_TRUE(version.starts_with("phidias ")) << version;
  EXPECT_EQ(std::count(version.begin(), version.end(), '.'), 2) << version;
}

TEST(Program, NoVerb) {
  ExpectFailure({}, 2, "a verb is missing");
}

TEST(Program, UnknownVerb) {
  ExpectFailure({"generate"}, 2, "unknown verb \"generate\"");
}

TEST(Program, UnknownFlagInsteadOfAVerb) {
  ExpectFailure({"--model"}, 2, "unknown flag \"--model\"");
}

TEST(Program, ControlCodesInArgumentsDontReachTheTerminal) {
  ExpectFailure({"a\nb\x1b[31m"}, 2, "\"a\\x0ab\\x1b[31m\"");
}

class EveryVerb : public ::testing::TestWithParam<std::string> {};

TEST_P(EveryVerb, RefusesAnUnknownFlag) {
  ExpectFailure({GetParam(), "--no-such-flag"}, 2, "--no-such-flag");
}

TEST_P(EveryVerb, RefusesAFlagWithoutItsValue) {
  ExpectFailure({GetParam(), "-m"}, 2, "--model");
}

TEST_P(EveryVerb, RefusesTooManyArguments) {
  ExpectFailure({GetParam(), Demo(), "b", "c", "-m", Demo()}, 2, "c");
}

// What is needed besides the model for the verb to get as far as opening it.
std::vector<std::string> WithModel(const std::string& verb, const std::string& model) {
  std::vector<std::string> arguments = {verb, "-m", model};
  if (verb == "trace") {
    arguments.insert(arguments.end(), {"--ids", "1", "-o", "/tmp/phidias-not-written.safetensors"});
  } else if (verb != "inspect") {
    arguments.insert(arguments.end(), {"-p", "hello"});
  }
  return arguments;
}

TEST_P(EveryVerb, RefusesAMissingModel) {
  ExpectFailure(WithModel(GetParam(), "/no/such/model"), 3, "\"/no/such/model\": no such file or directory");
}

TEST_P(EveryVerb, RefusesAnEmptyDirectory) {
  const ScratchDirectory scratch;
  ExpectFailure(WithModel(GetParam(), scratch.path()), 3, scratch.path());
}

TEST_P(EveryVerb, RefusesAFileThatIsNoModel) {
  const ScratchDirectory scratch;
  WriteText(scratch.File("notes.txt"), "version https://git-lfs.github.com/spec/v1\n");
  ExpectFailure(WithModel(GetParam(), scratch.File("notes.txt")), 3, scratch.path());
}

TEST_P(EveryVerb, SaysWhereAMissingModelWasNamed) {
  ProcessOptions options =
      Command(GetParam() == "trace" ? std::vector<std::string>{"trace", "--ids", "1", "-o", "/tmp/phidias-no.st"}
                                    : std::vector<std::string>{GetParam()});
  options.environment = {"PHIDIAS_MODEL=/no/such/model"};
  options.input = "hello";
  const ProcessResult result = Process::Run(options);
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_NE(result.err.find("PHIDIAS_MODEL"), std::string::npos) << result.err;
}

INSTANTIATE_TEST_SUITE_P(Verbs, EveryVerb, ::testing::Values("run", "tokenize", "inspect", "trace"),
                         [](const auto& param) { return param.param; });

TEST(Program, ModelFromTheEnvironmentYieldsToTheFlag) {
  ProcessOptions options = Command({"inspect", "--json"});
  options.environment = {"PHIDIAS_MODEL=" + Tiny()};
  EXPECT_EQ(nlohmann::json::parse(Process::Run(options).out)["config"]["hidden_size"], 160);
  options.arguments.insert(options.arguments.end(), {"-m", Demo()});
  EXPECT_EQ(nlohmann::json::parse(Process::Run(options).out)["config"]["hidden_size"], 320);
}

TEST(Program, DemoModelIsFoundFromAnyDirectory) {
  ProcessOptions options = Command({"inspect", "--json"});
  options.directory = "/";
  const ProcessResult result = Process::Run(options);
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(nlohmann::json::parse(result.out)["config"]["hidden_size"], 320);
}

TEST(Program, WithoutADemoModelTheMessageSaysHowToGiveOne) {
  const ScratchDirectory scratch;
  WriteText(scratch.File("phidias"), ReadText(PHIDIAS_PROGRAM));
  ASSERT_EQ(chmod(scratch.File("phidias").c_str(), 0755), 0);
  ProcessOptions options = Command({"run", "hello"});
  options.arguments[0] = scratch.File("phidias");
  options.directory = scratch.path();
  const ProcessResult result = Process::Run(options);
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_NE(result.err.find("-m MODEL"), std::string::npos) << result.err;
  EXPECT_NE(result.err.find("PHIDIAS_MODEL"), std::string::npos) << result.err;
}

TEST(Program, AFullDiskIsAFailure) {
  ProcessOptions options = Command({"--help"});
  options.stdout_path = "/dev/full";
  const ProcessResult result = Process::Run(options);
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_NE(result.err.find("cannot write to stdout"), std::string::npos) << result.err;
}

TEST(Program, OutOfMemoryIsNoCrash) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers need their address space";
#endif
  ProcessOptions options;
  options.arguments = {"/bin/sh", "-c", "ulimit -v 60000; head -c 50000000 /dev/zero | \"$0\" tokenize",
                       PHIDIAS_PROGRAM};
  const ProcessResult result = Process::Run(options);
  EXPECT_EQ(result.exit_code, 4);
  EXPECT_EQ(result.err, "phidias tokenize: out of memory\n");
}

}  // namespace
}  // namespace phidias::testing
