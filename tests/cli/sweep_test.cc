// `phidias sweep` and `phidias damage`: their files, going on with what there is, and their messages.

#include <algorithm>

#include "tests/cli/cli_test_util.h"

namespace phidias::testing {
namespace {

std::string Data() {
  return Root() + "/tests/data/eval16.jsonl";
}

std::vector<std::string> Sweep(const std::string& directory, std::vector<std::string> more = {}) {
  std::vector<std::string> arguments = {"sweep",
                                        Demo(),
                                        "--data",
                                        Data(),
                                        "--samples",
                                        "3",
                                        "--max-tokens",
                                        "16",
                                        "-q",
                                        "--calibration",
                                        Data(),
                                        "--calibration-samples",
                                        "4",
                                        "-o",
                                        directory};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

TEST(SweepVerb, WritesTheGridAsTablesAndPage) {
  const ScratchDirectory scratch;
  const std::string directory = scratch.File("sweep");
  const std::string table = Output(Sweep(directory));
  EXPECT_EQ(table, ReadText(directory + "/sweep.md"));
  EXPECT_NE(table.find("## Weights per tensor"), std::string::npos);
  EXPECT_NE(table.find("## Weights per channel"), std::string::npos);
  EXPECT_EQ(ReadJson(directory + "/sweep.json")["cells"].size(), 35U);
  const std::string csv = ReadText(directory + "/sweep.csv");
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), 36);
  EXPECT_TRUE(ReadText(directory + "/sweep.html").starts_with("<!doctype html>"));

  // What is there is not overwritten unasked; --resume finds nothing left to do and writes the same.
  ExpectFailure(Sweep(directory), 2, "holds a sweep already; --resume goes on with it, --force starts anew");
  EXPECT_EQ(Output(Sweep(directory, {"--resume"})), table);
  ExpectFailure(Sweep(directory, {"--resume", "--percentile", "99"}), 2, "another model, other data or other options");

  // A killed sweep has its first cells; the rest is added to the same numbers.
  nlohmann::json state = ReadJson(directory + "/sweep.json");
  state["cells"].erase(state["cells"].begin() + 7, state["cells"].end());
  WriteText(directory + "/sweep.json", state.dump());
  EXPECT_EQ(Output(Sweep(directory, {"--resume"})), table);
  EXPECT_EQ(Output(Sweep(directory, {"--force", "--granularity", "tensor"})).find("per channel"), std::string::npos);
}

TEST(SweepVerb, RefusesBadInput) {
  const ScratchDirectory scratch;
  WriteText(scratch.File("file"), "x");
  ExpectFailure(Sweep(scratch.File("file")), 1, "is a file; name a directory");
  ExpectFailure(Sweep(scratch.File("no/such")), 1, "cannot make this directory");
  ExpectFailure(Sweep(scratch.File("a"), {"--granularity", "row"}), 2, "--granularity");
  ExpectFailure(Sweep(scratch.File("a"), {"--resume", "--force"}), 2, "--force");
  ExpectFailure(Sweep(scratch.File("a"), {"--calibration-max-tokens", "600"}), 2, "context has 512 positions");
  ExpectFailure({"sweep", Demo(), "--data", Data(), "-o", scratch.File("a")}, 2, "--calibration is required");
  WriteText(scratch.File("sweep.json"), "{}");
  ExpectFailure(Sweep(scratch.path(), {"--resume"}), 3, "sweep.json: is not the state of a sweep");
}

TEST(DamageVerb, MeasuresAndWrites) {
  const ScratchDirectory scratch;
  const std::string directory = scratch.File("damage");
  const std::vector<std::string> arguments = {"damage",
                                              Demo(),
                                              "--data",
                                              Data(),
                                              "--samples",
                                              "3",
                                              "--max-tokens",
                                              "16",
                                              "-q",
                                              "--calibration",
                                              Data(),
                                              "--calibration-samples",
                                              "4",
                                              "--probe-rows",
                                              "2",
                                              "--recipe",
                                              "report",
                                              "--skip",
                                              "fc2",
                                              "-o",
                                              directory};
  const std::string table = Output(arguments);
  EXPECT_EQ(table, ReadText(directory + "/damage.md"));
  EXPECT_TRUE(ReadText(directory + "/damage.html").starts_with("<!doctype html>"));
  const nlohmann::json json = ReadJson(directory + "/damage.json");
  EXPECT_EQ(json["alone"].size(), 8U);
  EXPECT_EQ(json["linears"].size(), 49U);
  for (const auto& linear : json["linears"]) {
    const std::string name = linear["name"];
    EXPECT_EQ(linear["quantised"], !name.ends_with("fc2") && name != "lm_head") << name;
  }
}

TEST(DamageVerb, RefusesBadInput) {
  const auto refuse = [](std::vector<std::string> more, const std::string& message) {
    std::vector<std::string> arguments = {"damage",
                                          Demo(),
                                          "--data",
                                          Data(),
                                          "--samples",
                                          "2",
                                          "--max-tokens",
                                          "8",
                                          "--calibration",
                                          Data(),
                                          "--calibration-samples",
                                          "2",
                                          "-q"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    ExpectFailure(arguments, 2, message);
  };
  refuse({"--recipe", "worst"}, "must be one of report, best");
  refuse({"--weights", "dynamic"}, "--weights");
  refuse({"--smooth", "2"}, "--smooth");
  refuse({"--percentile", "x"}, "--percentile");
  refuse({"--skip", "nothing_like_this"}, "matches no linear layer");
  refuse({"--weights", "none", "--activations", "none", "--smooth", "none"}, "nothing is quantised");
}

}  // namespace
}  // namespace phidias::testing
