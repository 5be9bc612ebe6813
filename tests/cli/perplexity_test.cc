// `phidias perplexity`: the same digits whatever it runs on, its JSON, its messages; under mpirun where the build has
// MPI.

#include <cmath>

#include "tests/cli/cli_test_util.h"

namespace phidias::testing {
namespace {

std::string Data() {
  return Root() + "/tests/data/eval16.jsonl";
}

std::vector<std::string> Measure(std::vector<std::string> more) {
  std::vector<std::string> arguments = {"perplexity", Demo(), "--data", Data(), "-q", "--json", "--max-tokens", "64"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

// What must not depend on anything but model and data.
std::vector<nlohmann::json> Product(const nlohmann::json& json) {
  return {json["perplexity"], json["nll"], json["tokens"], json["standard_error"]};
}

TEST(PerplexityVerb, GivesTheSameDigitsForEveryThreadCountAndBatch) {
  const nlohmann::json want = JsonOutput(Measure({"-t", "1", "-b", "1024"}));
  EXPECT_EQ(want["rows"], 16);
  EXPECT_LE(want["tokens"], 16 * 63);  // a row of 64 tokens predicts 63
  EXPECT_GT(want["tokens"], 16 * 50);
  EXPECT_NEAR(want["perplexity"].get<double>(), std::exp(want["nll"].get<double>() / want["tokens"].get<double>()),
              1e-9);
  EXPECT_GT(want["standard_error"].get<double>(), 0);
  EXPECT_GT(want["seconds"].get<double>(), 0);
  EXPECT_EQ(Product(JsonOutput(Measure({"-t", "2", "-b", "50"}))), Product(want));
  EXPECT_EQ(Product(JsonOutput(Measure({"-t", "2", "--isa", "portable"}))), Product(want));
}

TEST(PerplexityVerb, PrintsALine) {
  const ProcessResult result = Phidias({"perplexity", Demo(), "--data", Data(), "--samples", "2", "--max-tokens", "9"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_TRUE(result.out.starts_with("perplexity ")) << result.out;
  EXPECT_TRUE(result.out.ends_with(" (16 tokens in 2 rows)\n")) << result.out;
  EXPECT_NE(result.err.find("16 tokens in "), std::string::npos) << result.err;
  EXPECT_EQ(result.err.find('\r'), std::string::npos) << "a progress bar where there is no terminal";
}

TEST(PerplexityVerb, SlidesAWindowOverOneText) {
  const ScratchDirectory scratch;
  WriteText(scratch.File("text.txt"),
            "Once upon a time, there was a little girl named Lily. She loved to play outside.");
  const auto count = JsonOutput({"perplexity", Demo(), "--data", scratch.File("text.txt"), "-q", "--json"})["tokens"];
  const auto slid = JsonOutput(
      {"perplexity", Demo(), "--data", scratch.File("text.txt"), "-q", "--json", "--max-tokens", "8", "--stride", "3"});
  EXPECT_EQ(slid["tokens"], count);  // every token once
  EXPECT_EQ(slid["stride"], 3);
  EXPECT_GT(slid["rows"], 3);
}

TEST(PerplexityVerb, SaysWhenRowsAreFew) {
  const ProcessResult result =
      Phidias({"perplexity", Demo(), "--data", Data(), "--samples", "99", "--max-tokens", "4"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_NE(result.err.find("has only 16 rows that can be used; 99 were asked for"), std::string::npos) << result.err;
}

TEST(PerplexityVerb, RefusesBadInput) {
  const ScratchDirectory scratch;
  const auto refuse = [&](std::vector<std::string> more, int code, const std::string& message) {
    std::vector<std::string> arguments = {"perplexity", Demo()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    ExpectFailure(arguments, code, message);
  };
  refuse({}, 2, "--data is required");
  refuse({"--data", scratch.File("none.jsonl")}, 3, "none.jsonl: cannot open");
  refuse({"--data", scratch.path()}, 3, "is a directory");
  refuse({"--data", Data(), "--max-tokens", "513"}, 2, "--max-tokens 513: this model's context has 512 positions");
  refuse({"--data", Data(), "--max-tokens", "1"}, 2, "--max-tokens");
  refuse({"--data", Data(), "--samples", "-1"}, 2, "--samples");
  refuse({"--data", Data(), "--max-tokens", "8", "--stride", "9"}, 2, "moves by 1 to its own length");
  refuse({"--data", Data(), "--stride", "9", "--seed", "1"}, 2, "--seed chooses rows");
  refuse({"--data", Data(), "--data-format", "xml"}, 2, "--data-format");
  refuse({"--data", Data(), "--state", scratch.File("no/such/state.json"), "--max-tokens", "4"}, 3, "cannot create");
  WriteText(scratch.File("bad.jsonl"), "{\"text\": \"a b c\"}\n{\"question\": \"?\"}\n");
  refuse({"--data", scratch.File("bad.jsonl")}, 3, "bad.jsonl: line 2: the row has the keys \"question\"");
  WriteText(scratch.File("x.parquet"), "PAR1....");
  refuse({"--data", scratch.File("x.parquet")}, 3, "is a Parquet file; convert it");
  WriteText(scratch.File("state.json"), "{}");
  refuse({"--data", Data(), "--state", scratch.File("state.json")}, 3,
         "is not a state of an interrupted perplexity run");
}

TEST(PerplexityVerb, GoesOnAfterAnInterruption) {
  const ScratchDirectory scratch;
  const std::string state = scratch.File("state.json");
  const nlohmann::json want = JsonOutput(Measure({"--max-tokens", "512"}));
  ProcessOptions options = Command(Measure({"--max-tokens", "512", "--state", state, "-t", "1", "--isa", "reference"}));
  options.arguments.insert(options.arguments.begin(), {"/usr/bin/timeout", "--preserve-status", "-s", "INT", "1"});
  const ProcessResult stopped = Process::Run(options);
  if (stopped.exit_code != 0) {  // a machine on which even the reference kernels finish is fast enough
    EXPECT_EQ(stopped.exit_code, 130) << stopped.err;
    EXPECT_EQ(stopped.out, "");
  }
  const nlohmann::json resumed = JsonOutput(Measure({"--max-tokens", "512", "--state", state}));
  EXPECT_EQ(Product(resumed), Product(want));
}

#ifdef PHIDIAS_MPIRUN

// Open MPI runs as root only when told; what it leaves unfreed at its end is its own affair (leak sanitizer).
std::vector<std::string> MpiEnvironment() {
  return {"OMPI_ALLOW_RUN_AS_ROOT=1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1", "ASAN_OPTIONS=detect_leaks=0"};
}

ProcessResult RunRanks(int count, std::vector<std::string> arguments) {
  ProcessOptions options = Command(std::move(arguments));
  options.arguments.insert(options.arguments.begin(),
                           {PHIDIAS_MPIRUN, "--oversubscribe", "--bind-to", "none", "-n", std::to_string(count)});
  options.environment = MpiEnvironment();
  return Process::Run(options);
}

TEST(PerplexityUnderMpi, GivesOneRanksDigits) {
  const nlohmann::json want = JsonOutput(Measure({}));
  for (const int count : {1, 2, 3}) {
    const ProcessResult result = RunRanks(count, Measure({"-t", "1"}));
    ASSERT_EQ(result.exit_code, 0) << result.err;
    const nlohmann::json json = nlohmann::json::parse(result.out);  // one object: only rank 0 speaks
    EXPECT_EQ(json["ranks"], count);
    EXPECT_EQ(Product(json), Product(want)) << count;
  }
}

TEST(PerplexityUnderMpi, ARankThatFailsEndsTheRunWithItsMessage) {
  const ProcessResult result = RunRanks(
      2, Measure({"--samples", "3", "--data-format", "text", "--max-tokens", "512", "--state", "/nowhere/state.json"}));
  EXPECT_NE(result.exit_code, 0);
  EXPECT_EQ(result.out, "");
  EXPECT_NE(result.err.find("phidias perplexity: rank 0 of 2: /nowhere/state.json: cannot create"), std::string::npos)
      << result.err;
}

// A rank that dies without a word: mpirun ends the others, and the state goes on.
TEST(PerplexityUnderMpi, AKilledRankEndsTheRunAndLeavesTheState) {
  const ScratchDirectory scratch;
  const std::string state = scratch.File("state.json");
  const std::vector<std::string> work =
      Measure({"--max-tokens", "512", "-t", "1", "--isa", "reference", "--state", state});
  ProcessOptions options = Command(work);
  // Rank 1 is killed after a second; the shell knows its rank from Open MPI.
  const std::string script =
      "if [ \"$OMPI_COMM_WORLD_RANK\" = 1 ]; then exec timeout -s KILL 1 \"$@\"; else exec \"$@\"; fi";
  options.arguments.insert(options.arguments.begin(), {PHIDIAS_MPIRUN, "--oversubscribe", "--bind-to", "none", "-n",
                                                       "2", "/bin/sh", "-c", script, "sh"});
  options.environment = MpiEnvironment();
  const ProcessResult killed = Process::Run(options);
  EXPECT_NE(killed.exit_code, 0);
  EXPECT_FALSE(killed.timed_out);
  EXPECT_EQ(killed.out, "");
  EXPECT_NE(killed.err.find("Killed"), std::string::npos) << killed.err;
  const nlohmann::json want = JsonOutput(Measure({"--max-tokens", "512"}));
  EXPECT_EQ(Product(JsonOutput(Measure({"--max-tokens", "512", "--state", state}))), Product(want));
}

#endif  // PHIDIAS_MPIRUN

}  // namespace
}  // namespace phidias::testing
