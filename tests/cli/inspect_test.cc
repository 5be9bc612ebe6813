// `phidias inspect`: its sums against counts made by hand from the configurations.

#include <set>

#include "tests/cli/cli_test_util.h"

namespace phidias::testing {
namespace {

TEST(Inspect, DemoModel) {
  const auto json = JsonOutput({"inspect", Demo(), "--json"});
  EXPECT_EQ(json["config"]["num_hidden_layers"], 8);
  EXPECT_EQ(json["config"]["rotary_dim"], 32);
  EXPECT_EQ(json["dtypes"], nlohmann::json::array({"F16"}));
  EXPECT_EQ(json["parts"]["embedding"]["parameters"], 4160 * 320);
  EXPECT_EQ(json["parts"]["attention"]["parameters"], 8 * 4 * (320 * 320 + 320));
  EXPECT_EQ(json["parts"]["mlp"]["parameters"], 8 * (2 * 320 * 1280 + 1280 + 320));
  EXPECT_EQ(json["parts"]["norms"]["parameters"], 9 * 2 * 320);
  EXPECT_EQ(json["parts"]["lm_head"]["parameters"], 4160 * 320 + 4160);
  EXPECT_EQ(json["parts"]["other"]["tensors"], 0);
  EXPECT_EQ(json["total"]["parameters"], 12525760);
  EXPECT_EQ(json["total"]["bytes"], 2 * 12525760);
  EXPECT_EQ(json["total"]["tensors"], json["tensors"].size());
  EXPECT_EQ(json["kv_cache"]["bytes_per_position"], 2 * 8 * 320 * 4);
  EXPECT_EQ(json["kv_cache"]["bytes_full_context"], 2 * 8 * 320 * 4 * 512);
  EXPECT_EQ(json["tokenizer"]["ids_with_text"], 4096);
}

// The same weights under every naming and in every container fall into the same parts.
TEST(Inspect, EveryKindOfCheckpointHasTheSameParts) {
  const auto parts = [](const std::string& path) {
    const auto json = nlohmann::json::parse(Phidias({"inspect", path, "--json"}).out, nullptr, false);
    std::vector<int64_t> counts;
    for (const char* part : {"embedding", "attention", "mlp", "norms", "lm_head"}) {
      counts.push_back(json["parts"][part]["parameters"]);
    }
    counts.push_back(json["total"]["parameters"]);
    return counts;
  };
  const auto expected = parts(Tiny());
  EXPECT_EQ(expected[1], 3 * 4 * (160 * 160 + 160));
  EXPECT_EQ(parts(Root() + "/tests/golden/tiny-phi2-bin"), expected);
  EXPECT_EQ(parts(Root() + "/tests/golden/tiny-phi2-msft"), expected);
  EXPECT_EQ(parts(Root() + "/tests/golden/tiny-phi2-fused.gguf"), expected);
}

TEST(Inspect, TinyModelHasNoTokenizer) {
  EXPECT_EQ(JsonOutput({"inspect", "-m", Tiny(), "--json"})["tokenizer"], nullptr);
  const std::string text = Output({"inspect", "-m", Tiny()});
  EXPECT_NE(text.find("tokenizer               none"), std::string::npos) << text;
}

TEST(Inspect, TextHoldsTheSums) {
  const std::string text = Output({"inspect", Demo()});
  for (const char* word :
       {"12525760", "12.5 M", "25051520", "25.05 MB", "20480 bytes per position", "10.49 MB", "4096 ids"}) {
    EXPECT_NE(text.find(word), std::string::npos) << word << "\n" << text;
  }
  EXPECT_EQ(text.find("q_proj"), std::string::npos);
}

TEST(Inspect, ListsTensorsOnRequest) {
  const std::string text = Output({"inspect", Demo(), "--tensors"});
  EXPECT_NE(text.find("\"model.layers.7.self_attn.q_proj.weight\"\tF16\t[320, 320]\t"), std::string::npos) << text;
  EXPECT_NE(text.find("model-00003-of-00003.safetensors\n"), std::string::npos);
}

TEST(Inspect, RefusesABrokenModel) {
  const ScratchDirectory scratch;
  WriteText(scratch.File("config.json"), ReadText(Tiny() + "/config.json"));
  ExpectFailure({"inspect", scratch.path()}, 3, scratch.path());
  WriteText(scratch.File("model.safetensors"), "\x08");
  ExpectFailure({"inspect", scratch.path()}, 3, "model.safetensors");
  WriteText(scratch.File("config.json"), "{");
  ExpectFailure({"inspect", scratch.path()}, 3, "config.json");
  ExpectFailure({"inspect", "-m", Demo(), Demo()}, 2, "given twice");
}

TEST(Inspect, ShowsAModelWhoseTokenizerIsBrokenAndRefusesIt) {
  const ScratchDirectory scratch;
  for (const char* name : {"config.json", "model.safetensors"}) {
    WriteText(scratch.File(name), ReadText(Root() + "/tests/golden/tiny-phi2-msft/" + name));
  }
  WriteText(scratch.File("tokenizer.json"), "{}");
  const ProcessResult result = Phidias({"inspect", scratch.path()});
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_NE(result.out.find("can't be used"), std::string::npos) << result.out;
  EXPECT_NE(result.err.find("tokenizer.json"), std::string::npos) << result.err;
}

}  // namespace
}  // namespace phidias::testing
