// `phidias synth`: what it writes is a checkpoint to every other verb, and bad input is named and leaves nothing.

#include <filesystem>

#include "tests/cli/cli_test_util.h"

namespace phidias::testing {
namespace {

std::vector<std::string> Synth(const std::string& shape, const std::string& directory,
                               std::vector<std::string> more = {}) {
  std::vector<std::string> arguments = {"synth", "--shape", shape, "-o", directory};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

size_t FilesIn(const std::string& directory) {
  const std::filesystem::directory_iterator files(directory);
  return static_cast<size_t>(std::distance(begin(files), end(files)));
}

TEST(SynthVerb, Int8RunsInBothArithmetics) {
  const ScratchDirectory scratch;
  const std::string directory = scratch.File("synth");
  const ProcessResult result = Phidias(Synth(Demo(), directory));
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, "");
  EXPECT_NE(result.err.find("12525760 parameters"), std::string::npos) << result.err;
  EXPECT_EQ(FilesIn(scratch.path()), 1U);
  EXPECT_EQ(ReadJson(directory + "/config.json")["quantization_config"]["format"], "int-quantized");
  for (const char* arithmetic : {"float", "integer"}) {
    const nlohmann::json run =
        JsonOutput({"run", "-m", directory, "-p", "Once upon a time", "-n", "4", "--arith", arithmetic, "--json"});
    EXPECT_EQ(run["ids"].size(), 4U) << run;
  }
}

TEST(SynthVerb, F16FromAConfigFile) {
  const ScratchDirectory scratch;
  const std::string directory = scratch.File("synth");
  Output(Synth(Demo() + "/config.json", directory, {"--dtype", "f16", "-q", "-t", "1"}));
  const nlohmann::json config = ReadJson(directory + "/config.json");
  EXPECT_FALSE(config.contains("quantization_config"));
  for (const char* key : {"hidden_size", "intermediate_size", "num_hidden_layers", "vocab_size"}) {
    EXPECT_EQ(config[key], ReadJson(Demo() + "/config.json")[key]) << key;
  }
  // The same tensors as in the checkpoint that the shape is from, in the same types.
  EXPECT_EQ(JsonOutput({"inspect", directory, "--json"})["total"], JsonOutput({"inspect", Demo(), "--json"})["total"]);
}

TEST(SynthVerb, SeedsAndForce) {
  const ScratchDirectory scratch;
  const std::string directory = scratch.File("synth");
  Output(Synth(Tiny(), directory, {"--seed", "1"}));
  const std::string first = ReadText(directory + "/model.safetensors");
  ExpectFailure(Synth(Tiny(), directory), 2, "exists already; use --force");
  Output(Synth(Tiny(), directory, {"--seed", "2", "--force"}));
  EXPECT_NE(ReadText(directory + "/model.safetensors"), first);
  Output(Synth(Tiny(), directory, {"--seed", "1", "--force", "-t", "2"}));
  EXPECT_EQ(ReadText(directory + "/model.safetensors"), first);
}

TEST(SynthVerb, RefusesBadInputAndLeavesNothing) {
  const ScratchDirectory scratch;
  const std::string out = scratch.File("out");
  ExpectFailure({"synth", "-o", out}, 2, "--shape is required");
  ExpectFailure({"synth", "--shape", "phi-2"}, 2, "--output is required");
  ExpectFailure(Synth("phi-3", out), 2, "phi-2, phi-1.5 and phi-1 are, and there is no such file");
  ExpectFailure(Synth(Tiny(), out, {"--dtype", "int2"}), 2, "--dtype");
  ExpectFailure(Synth(Tiny(), out, {"--seed", "-1"}), 2, "out of range");
  ExpectFailure(Synth(Tiny(), out, {"-t", "10000"}), 2, "out of range");
  ExpectFailure(Synth(Tiny(), out, {"--tokenizer", "/nowhere"}), 3, "/nowhere");
  ExpectFailure(Synth(Tiny(), out, {"--tokenizer", Demo()}), 2, "name another tokenizer");
  ExpectFailure(Synth(Tiny(), "/nowhere/out"), 1, "cannot create the output directory");
  EXPECT_EQ(FilesIn(scratch.path()), 0U);
  const std::string config = scratch.File("config.json");
  WriteText(config, "{\"model_type\": \"llama\"}");
  ExpectFailure(Synth(config, out), 3, "llama");
  WriteText(config, "{");
  ExpectFailure(Synth(config, out), 3, config);
  nlohmann::json huge = ReadJson(Tiny() + "/config.json");
  huge["hidden_size"] = 131072;
  huge["num_hidden_layers"] = 1024;
  huge["vocab_size"] = 16777216;
  WriteText(config, huge.dump());
  ExpectFailure(Synth(config, out), 4, "are free on this file system");
  EXPECT_EQ(FilesIn(scratch.path()), 1U);
}

}  // namespace
}  // namespace phidias::testing
