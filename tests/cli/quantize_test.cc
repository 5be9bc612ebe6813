// `phidias quantize`: what it writes loads and runs in both arithmetics, bad input is named and leaves nothing, and a
// killed run goes on to the same bytes.

#include <filesystem>

#include "tests/cli/cli_test_util.h"

namespace phidias::testing {
namespace {

std::string Calibration() {
  return Root() + "/tests/data/calib32.jsonl";
}

std::vector<std::string> Quantize(const std::string& directory, std::vector<std::string> more = {}) {
  std::vector<std::string> arguments = {"quantize", Demo(), "--calibration", Calibration(), "--samples", "8",
                                        "-q",       "-o",   directory};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

size_t FilesIn(const std::string& directory) {
  const std::filesystem::directory_iterator files(directory);
  return static_cast<size_t>(std::distance(begin(files), end(files)));
}

TEST(QuantizeVerb, WritesAModelThatRunsInBothArithmetics) {
  const ScratchDirectory scratch;
  const std::string directory = scratch.File("int8");
  EXPECT_EQ(Output(Quantize(directory, {"--arith", "integer"})), "");
  EXPECT_EQ(FilesIn(scratch.path()), 1U);  // no state and no temporary directory stay behind
  const nlohmann::json config = ReadJson(directory + "/config.json");
  EXPECT_EQ(config["quantization_config"]["format"], "int-quantized");
  EXPECT_EQ(config["quantization_config"]["ignore"][0], "lm_head");
  EXPECT_EQ(ReadJson(directory + "/phidias_integer.json")["layers"].size(), 8U);
  for (const char* arithmetic : {"float", "integer"}) {
    const nlohmann::json result = JsonOutput(
        {"run", "-m", directory, "-p", "Once upon a time, there was a", "-n", "6", "--arith", arithmetic, "--json"});
    EXPECT_EQ(result["text"], " little girl named Lily. She") << arithmetic;
  }
}

TEST(QuantizeVerb, RecipesAndFlags) {
  const ScratchDirectory scratch;
  Output(Quantize(scratch.File("report"), {"--recipe", "report"}));
  nlohmann::json group =
      ReadJson(scratch.File("report") + "/config.json")["quantization_config"]["config_groups"]["group_0"];
  EXPECT_EQ(group["weights"]["strategy"], "tensor");
  EXPECT_EQ(group["input_activations"]["symmetric"], false);
  // Dynamic activations without smoothing need no calibration.
  Output({"quantize", Demo(), "--activations", "dynamic", "--smooth", "none", "-q", "-o", scratch.File("dynamic")});
  group = ReadJson(scratch.File("dynamic") + "/config.json")["quantization_config"]["config_groups"]["group_0"];
  EXPECT_EQ(group["input_activations"]["dynamic"], true);
  Output(Quantize(scratch.File("skip"), {"--skip", "re:.*layers\\.3\\..*"}));
  EXPECT_EQ(ReadJson(scratch.File("skip") + "/config.json")["quantization_config"]["ignore"].size(), 7U);
}

TEST(QuantizeVerb, RefusesBadInputAndLeavesNothing) {
  const ScratchDirectory scratch;
  const std::string out = scratch.File("out");
  ExpectFailure({"quantize", Demo(), "-o", out}, 2, "--calibration is missing");
  ExpectFailure({"quantize", Demo(), "--calibration", Calibration()}, 2, "--output is required");
  ExpectFailure(Quantize(out, {"--recipe", "better"}), 2, "better");
  ExpectFailure(Quantize(out, {"--weights", "3bit"}), 2, "3bit");
  ExpectFailure(Quantize(out, {"--arith", "complex"}), 2, "neither float nor integer");
  ExpectFailure(Quantize(out, {"--skip", "no_such_layer"}), 2, "no_such_layer");
  ExpectFailure({"quantize", Demo(), "--calibration", scratch.File("none.jsonl"), "-o", out}, 3, "none.jsonl");
  WriteText(scratch.File("bad.jsonl"), "{\"text\": \"fine\"}\n{\"words\": 1}\n");
  ExpectFailure({"quantize", Demo(), "--calibration", scratch.File("bad.jsonl"), "-o", out}, 3, "line 2");
  ExpectFailure(Quantize(scratch.File("no/such/out")), 1, "no/such");
  EXPECT_EQ(FilesIn(scratch.path()), 1U);
  // What is there stays, unless it is told otherwise; a quantised model isn't quantised again.
  Output(Quantize(out));
  ExpectFailure(Quantize(out), 2, "--force");
  Output(Quantize(out, {"--force", "--recipe", "report"}));
  EXPECT_EQ(ReadJson(out + "/config.json")["quantization_config"]["config_groups"]["group_0"]["weights"]["strategy"],
            "tensor");
  ExpectFailure({"quantize", out, "--calibration", Calibration(), "-o", scratch.File("again")}, 2, "quantised already");
}

TEST(QuantizeVerb, AKilledRunLeavesNoModelAndCanBeRepeated) {
  const ScratchDirectory scratch;
  std::string rows;
  for (int i = 0; i < 40; ++i) {
    rows += ReadText(Calibration());
  }
  WriteText(scratch.File("rows.jsonl"), rows);
  const std::string out = scratch.File("out");
  const auto arguments = [&](const std::string& directory, const std::string& samples) {
    return std::vector<std::string>{
        "quantize", Demo(), "--calibration", scratch.File("rows.jsonl"), "--samples", samples, "-q", "-o", directory};
  };
  ProcessOptions killed = Command(arguments(out, "1280"));
  killed.timeout_seconds = 1;
  EXPECT_TRUE(Process::Run(killed).timed_out);
  EXPECT_FALSE(std::filesystem::exists(out));
  // A state of other rows is never mistaken for this run's, and the result is that of a run that was never killed.
  std::filesystem::remove(out + ".calibration.state");
  Output(arguments(out, "16"));
  Output(arguments(scratch.File("other"), "16"));
  EXPECT_EQ(ReadText(out + "/model.safetensors"), ReadText(scratch.File("other") + "/model.safetensors"));
}

TEST(QuantizeVerb, WhatTheUserShouldKnowIsSaid) {
  const ScratchDirectory scratch;
  const std::string directory = scratch.File("int8");
  Output(Quantize(directory, {"--arith", "integer"}));
  const std::vector<std::string> run = {"run", "-m", directory, "-p",     "Once upon a time",
                                        "-n",  "4",  "--arith", "integer"};
  EXPECT_EQ(Phidias(run).err.find("saturated"), std::string::npos);

  // A pattern that matches nothing.
  nlohmann::json config = ReadJson(directory + "/config.json");
  config["quantization_config"]["ignore"].push_back("no_such_layer");
  WriteText(directory + "/config.json", config.dump());
  EXPECT_NE(Phidias(run).err.find("no_such_layer"), std::string::npos);

  // A residual stream in steps so fine that it can't hold its values.
  nlohmann::json constants = ReadJson(directory + "/phidias_integer.json");
  constants["residual_shift"] = 20;
  WriteText(directory + "/phidias_integer.json", constants.dump());
  const ProcessResult result = Phidias(
      {"perplexity", directory, "--data", Root() + "/tests/data/eval16.jsonl", "--samples", "3", "--arith", "integer"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_NE(result.err.find("saturated  "), std::string::npos) << result.err;
}

TEST(QuantizeVerb, StatesOfTheTwoArithmeticsAreNotMixed) {
  const ScratchDirectory scratch;
  const std::string directory = scratch.File("int8");
  Output(Quantize(directory, {"--arith", "integer"}));
  const auto measure = [&](const std::string& arithmetic) {
    return std::vector<std::string>{"perplexity", directory,  "--data",  Root() + "/tests/data/eval16.jsonl",
                                    "--samples",  "3",        "--state", scratch.File("state.json"),
                                    "--arith",    arithmetic, "--json",  "-q"};
  };
  const double in_float = JsonOutput(measure("float"))["perplexity"];
  ExpectFailure(measure("integer"), 2, "state.json");
  std::filesystem::remove(scratch.File("state.json"));
  EXPECT_NE(JsonOutput(measure("integer"))["perplexity"], in_float);
}

}  // namespace
}  // namespace phidias::testing
