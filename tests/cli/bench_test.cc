// `phidias bench`: its tests are those that were asked for, its formats are what programs and people expect, its
// figures agree with each other, and bad input is named before anything is measured.

#include <algorithm>
#include <set>
#include <sstream>

#include "tests/cli/cli_test_util.h"

namespace phidias::testing {
namespace {

std::vector<std::string> Bench(std::vector<std::string> more, const std::string& model = Tiny()) {
  std::vector<std::string> arguments = {"bench", "-m", model, "--peak-mib", "8", "-r", "2", "-q"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

std::vector<std::string> Lines(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) {
    lines.push_back(line);
  }
  return lines;
}

TEST(BenchVerb, JsonHasLlamaBenchsKeysAndFiguresThatAgree) {
  const nlohmann::json results = JsonOutput(Bench({"-p", "16", "-n", "4", "-t", "2", "-o", "json"}));
  ASSERT_EQ(results.size(), 2U);
  for (const nlohmann::json& result : results) {
    const auto tokens = result["n_prompt"].get<double>() + result["n_gen"].get<double>();
    ASSERT_EQ(result["samples_ts"].size(), 2U);
    ASSERT_EQ(result["samples_ns"].size(), 2U);
    double sum = 0;
    for (size_t i = 0; i < 2; ++i) {
      const auto rate = result["samples_ts"][i].get<double>();
      EXPECT_NEAR(rate * result["samples_ns"][i].get<double>() * 1e-9, tokens, 1e-3 * tokens);
      sum += rate;
    }
    EXPECT_NEAR(result["avg_ts"].get<double>(), sum / 2, 1e-6 * sum);
    EXPECT_NEAR(result["median_ts"].get<double>(), sum / 2, 1e-6 * sum);
    EXPECT_GE(result["stddev_ts"].get<double>(), 0);
    for (const char* key : {"bytes_per_token", "read_gb_per_second", "read_gb_per_second_peak", "gops", "gops_peak",
                            "read_ratio", "gops_ratio", "load_seconds", "first_token_seconds", "rss_peak_bytes"}) {
      EXPECT_GT(result[key].get<double>(), 0) << key;
    }
    EXPECT_TRUE(result.contains("joules_per_token"));
    EXPECT_EQ(result["n_threads"], 2);
    EXPECT_EQ(result["arithmetic"], "float");
  }
  EXPECT_EQ(results[0]["test"], "pp16");
  EXPECT_EQ(results[0]["n_gen"], 0);
  EXPECT_EQ(results[1]["test"], "tg4");
  // A generated token reads all weights but the embedding, a prompt shares them.
  EXPECT_GT(results[1]["bytes_per_token"].get<int64_t>(), 4 * results[0]["bytes_per_token"].get<int64_t>());
}

TEST(BenchVerb, EveryCombinationOfTheLists) {
  const std::string out =
      Output(Bench({"-p",         "0", "-n", "1,2", "--pg", "3,4", "-pg", "5,6",   "-d", "0,7", "--parallel", "1",
                    "--parallel", "2", "-b", "4",   "-t",   "1,2", "-o",  "jsonl", "-r", "1",   "--peak-mib", "0"}));
  std::set<std::string> seen;
  for (const std::string& line : Lines(out)) {
    const nlohmann::json result = nlohmann::json::parse(line);
    seen.insert(result["test"].get<std::string>() + " t" + std::to_string(result["n_threads"].get<int>()));
  }
  EXPECT_EQ(Lines(out).size(), 4U * 2 * 2 * 2);
  EXPECT_EQ(seen.size(), 4U * 2 * 2 * 2);
  for (const char* name : {"tg1 t1", "tg2 @ d7 t2", "pp3+tg4 x2 t1", "pp5+tg6 @ d7 x2 t2"}) {
    EXPECT_TRUE(seen.contains(name)) << name;
  }
}

TEST(BenchVerb, Tables) {
  const std::vector<std::string> md = Lines(Output(Bench({"-p", "8", "-n", "2", "-r", "1"})));
  ASSERT_EQ(md.size(), 4U);
  for (const std::string& line : md) {
    EXPECT_EQ(std::count(line.begin(), line.end(), '|'), std::count(md[0].begin(), md[0].end(), '|')) << line;
  }
  EXPECT_NE(md[2].find("| pp8 |"), std::string::npos) << md[2];
  EXPECT_NE(md[3].find("| tg2 |"), std::string::npos) << md[3];
  const std::vector<std::string> csv = Lines(Output(Bench({"-p", "8", "-n", "2", "-r", "1", "-o", "csv"})));
  ASSERT_EQ(csv.size(), 3U);
  EXPECT_TRUE(csv[0].starts_with("version,model_filename,")) << csv[0];
  EXPECT_NE(csv[0].find(",avg_ts,stddev_ts,"), std::string::npos) << csv[0];
  EXPECT_NE(csv[2].find("\"tg2\""), std::string::npos) << csv[2];
}

TEST(BenchVerb, ArithmeticsInstructionSetsAndPlacesOfWeights) {
  const ScratchDirectory scratch;
  const std::string model = scratch.File("int8");
  Output({"synth", "--shape", Tiny(), "-q", "-o", model});
  const std::string out = Output(Bench({"-p", "0", "-n", "2", "-r", "1", "--arith", "float,integer", "--isa",
                                        "portable,reference", "--load", "mmap,copy", "-o", "jsonl", "--no-warmup"},
                                       model));
  std::set<std::string> seen;
  for (const std::string& line : Lines(out)) {
    const nlohmann::json result = nlohmann::json::parse(line);
    seen.insert(result["arithmetic"].get<std::string>() + " " + result["isa"].get<std::string>() + " " +
                result["load"].get<std::string>());
    EXPECT_EQ(result["int8_peak"], "portable");
  }
  EXPECT_EQ(seen.size(), 8U);
}

TEST(BenchVerb, WithoutPeaksThereAreNoRatios) {
  const nlohmann::json results = JsonOutput(Bench({"-p", "4", "-n", "0", "-o", "json", "--peak-mib", "0"}));
  EXPECT_EQ(results[0]["read_gb_per_second_peak"], 0);
  EXPECT_EQ(results[0]["gops_ratio"], 0);
  EXPECT_GT(results[0]["read_gb_per_second"].get<double>(), 0);
}

TEST(BenchVerb, SaysWhatItMeasuredWith) {
  const ProcessResult result =
      Phidias({"bench", Tiny(), "-p", "4", "-n", "0", "-r", "1", "--peak-mib", "8", "-o", "jsonl"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_NE(result.err.find("streams each"), std::string::npos) << result.err;
}

TEST(BenchVerb, RefusesBadInput) {
  ExpectFailure(Bench({"-p", "0", "-n", "0"}), 2, "nothing to measure");
  ExpectFailure(Bench({"-p", "1,x"}), 2, "\"x\" is not a whole number");
  ExpectFailure(Bench({"-p", "1,,2"}), 2, "is not a whole number");
  ExpectFailure(Bench({"-n", ""}), 2, "is not a whole number");
  ExpectFailure(Bench({"-n", "-1"}), 2, "out of range");
  ExpectFailure(Bench({"-r", "0"}), 2, "out of range");
  ExpectFailure(Bench({"--pg", "64"}), 2, "is no pair");
  ExpectFailure(Bench({"--pg", "0,4"}), 2, "out of range");
  ExpectFailure(Bench({"-t", "10000"}), 2, "out of range");
  ExpectFailure(Bench({"--parallel", "0"}), 2, "out of range");
  ExpectFailure(Bench({"-b", "0"}), 2, "out of range");
  ExpectFailure(Bench({"-o", "xml"}), 2, "none of md, csv, json and jsonl");
  ExpectFailure(Bench({"--arith", "double"}), 2, "neither float nor integer");
  ExpectFailure(Bench({"--load", "guess"}), 2, "none of auto, mmap and copy");
  // An unknown name at the end of a list is found before the work for the others.
  ExpectFailure(Bench({"--isa", "portable,sse9"}), 2, "sse9");
  ExpectFailure(Bench({"--peak-mib", "1000000"}), 4, "--peak-mib 1000000");
  ExpectFailure(Bench({"-p", "16", "-d", "1048576"}), 4, "this model's context has");
  ExpectFailure(Bench({"-p", "4", "-n", "1000"}), 4, "this model's context has");
  ExpectFailure(Bench({"--arith", "integer"}), 3, "phidias_integer.json");
  ExpectFailure(Bench({}, "/nowhere"), 3, "/nowhere");
  ExpectFailure({"bench", "--nonsense"}, 2, "--nonsense");
}

}  // namespace
}  // namespace phidias::testing
