// A model on the emulated card, as a user runs it: XRT, the shim, the kernels' C simulation, packed file and placement
// all in the way. Oracle: the same command with --device cpu, whose bits must be the same. The emulated card is strict:
// a violation of what a real one would want ends the process. Then: packed files that are wrong, and cards that fail.

#include <sys/stat.h>

#include <csignal>

#include "tests/cli/emulated_card_fixture.h"
#include "tests/support/http_client.h"
#include "tests/support/server_process.h"

namespace phidias::testing {
namespace {

const char* const kPrompt = "Once upon a time";

// With the demo model in int8, quantised once for all tests.
class EmulatedCard : public EmulatedCardTest {
 protected:
  static void SetUpTestSuite() { Prepare("demo-int8", {"--recipe", "report"}); }

  static std::string DemoInt8() { return File("demo-int8"); }

  static ProcessResult OnCard(std::vector<std::string> arguments, const std::string& faults = "") {
    return RunOnCard(std::move(arguments), faults);
  }
  static nlohmann::json CardRun(std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"--json", "-q"});
    const ProcessResult result = OnCard(std::move(arguments));
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return nlohmann::json::parse(result.out, nullptr, false);
  }
  // A card that fails: the exit code and words of the message; with --fallback cpu, the CPU's text and the same words.
  static void ExpectFails(const std::string& faults, int exit_code, std::initializer_list<const char*> words,
                          const std::vector<std::string>& more = {}) {
    SCOPED_TRACE(faults);
    std::vector<std::string> arguments = {"run", "-m", DemoInt8(), "-n", "6", "-p", kPrompt};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const ProcessResult failed = OnCard(arguments, faults);
    EXPECT_EQ(failed.exit_code, exit_code) << failed.err;
    arguments.insert(arguments.end(), {"--fallback", "cpu"});
    const ProcessResult goes_on = OnCard(arguments, faults);
    EXPECT_EQ(goes_on.exit_code, 0) << goes_on.err;
    EXPECT_EQ(goes_on.out, Output({"run", "-m", DemoInt8(), "-n", "6", "-p", kPrompt}));
    EXPECT_NE(goes_on.err.find("going on with the CPU"), std::string::npos) << goes_on.err;
    for (const char* word : words) {
      EXPECT_NE(failed.err.find(word), std::string::npos) << word << " in: " << failed.err;
      EXPECT_NE(goes_on.err.find(word), std::string::npos) << word << " in: " << goes_on.err;
    }
  }
};

TEST_F(EmulatedCard, EveryActivationHasTheCpusBits) {
  const std::vector<std::string> trace = {"trace", "-m", TinyInt8(), "--ids", "5,77,300,2,2,511,40"};
  const auto to = [&trace](const std::string& path, std::vector<std::string> more) {
    more.insert(more.begin(), trace.begin(), trace.end());
    more.insert(more.end(), {"-o", path});
    return more;
  };
  Output(to(File("cpu"), {}));
  const std::string expected = ReadText(File("cpu"));
  for (const std::vector<std::string>& more : {std::vector<std::string>{},
                                               {"--one-at-a-time"},
                                               {"--schedule", "sequential"},
                                               {"--host-ops", "lm_head,layernorm", "--one-at-a-time"},
                                               {"--host-ops", "attention,gelu,residual,linear"}}) {
    const ProcessResult result = OnCard(to(File("card"), more));
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_TRUE(ReadText(File("card")) == expected) << ::testing::PrintToString(more);
  }
}

TEST_F(EmulatedCard, LogitsOfTheDemoModelHaveTheCpusBits) {
  Output({"trace", "-m", DemoInt8(), "--text", kPrompt, "-o", File("cpu-demo")});
  const ProcessResult result = OnCard({"trace", "-m", DemoInt8(), "--text", kPrompt, "-o", File("card-demo")});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_TRUE(ReadText(File("card-demo")) == ReadText(File("cpu-demo")));
}

TEST_F(EmulatedCard, SixtyFourTokensAreEqualAndEveryWeightIsReadForEach) {
  const std::vector<std::string> run = {"run", "-m", DemoInt8(), "-n", "64", "--ignore-eos", "-p", kPrompt};
  std::vector<std::string> on_cpu = run;
  on_cpu.insert(on_cpu.end(), {"--json", "-q"});
  const nlohmann::json cpu = JsonOutput(on_cpu);
  const nlohmann::json card = CardRun(run);
  ASSERT_EQ(card["ids"].size(), 64U);
  EXPECT_EQ(card["ids"], cpu["ids"]);
  EXPECT_EQ(card["text"], cpu["text"]);

  const auto tokens = card["prompt_tokens"].get<int64_t>() + 63;
  const nlohmann::json& use = card["card"];
  EXPECT_EQ(use["runs"]["fc1"], tokens * 8);
  EXPECT_EQ(use["runs"]["q"], tokens * 8 * 2);
  EXPECT_EQ(use["runs"]["lm_head"], 64);
  int64_t read = 0;
  for (const nlohmann::json& bank : use["emulation"]["banks"]) {
    const bool weights = bank["bank"].get<std::string>().starts_with("HBM") && bank["to_device"] > 0;
    read += weights ? bank["read"].get<int64_t>() : 0;
  }
  // All but lm_head for the prompt's other tokens.
  EXPECT_GE(read, use["weight_bytes"].get<int64_t>() * 64);
  EXPECT_EQ(use["emulation"]["violations"], 0);
  int64_t runs = 0;
  for (const nlohmann::json& unit : use["emulation"]["units"]) {
    runs += unit["runs"].get<int64_t>();
  }
  int64_t started = 0;
  for (const nlohmann::json& unit : use["runs"]) {
    started += unit.get<int64_t>();
  }
  EXPECT_EQ(runs, started) << "what the host has started is what the card has run";
}

TEST_F(EmulatedCard, RunsOverlapOnlyInTheParallelSchedule) {
  const auto overlaps = [](const char* schedule) {
    return CardRun({"run", "-m", DemoInt8(), "-n", "4", "--schedule", schedule, "-p",
                    kPrompt})["card"]["emulation"]["overlapping_starts"]
        .get<int64_t>();
  };
  EXPECT_EQ(overlaps("sequential"), 0);
  // Kernels that may overlap do so only if the machine has a second core to spare meanwhile.
  int64_t seen = 0;
  for (int attempt = 0; seen == 0 && attempt < 10; ++attempt) {
    seen = overlaps("parallel");
  }
  EXPECT_GT(seen, 0);
}

TEST_F(EmulatedCard, PacksOnceAndSaysSo) {
  const std::vector<std::string> run = {"run", "-m", DemoInt8(), "-n", "2", "-p", kPrompt};
  ProcessOptions options = Command(run);
  options.arguments.insert(options.arguments.end(), {"--device", "u280-emu"});
  options.environment = {"PHIDIAS_CACHE=" + File("new-cache")};
  EXPECT_NE(Process::Run(options).err.find("packing the model for design report, once, into " + File("new-cache")),
            std::string::npos);
  EXPECT_EQ(Process::Run(options).err.find("packing"), std::string::npos);
}

TEST_F(EmulatedCard, PackedFilesAreChecked) {
  const std::string packed = File("demo.packed");
  Output({"pack", DemoInt8(), "-q", "-o", packed});
  Output({"pack", DemoInt8(), "-q", "-t", "1", "-o", File("again.packed")});
  const std::string bytes = ReadText(packed);
  EXPECT_TRUE(bytes == ReadText(File("again.packed"))) << "deterministic";
  const std::vector<std::string> run = {"run", "-m", DemoInt8(), "-n", "4", "-q", "-p", kPrompt, "--packed"};
  const auto with = [&run](const std::string& file) {
    std::vector<std::string> arguments = run;
    arguments.push_back(file);
    return OnCard(arguments);
  };
  EXPECT_EQ(with(packed).out, Output({"run", "-m", DemoInt8(), "-n", "4", "-q", "-p", kPrompt}));

  std::string flipped = bytes;
  flipped[flipped.size() / 2] = static_cast<char>(flipped[flipped.size() / 2] ^ 1);
  WriteText(File("flipped.packed"), flipped);
  const ProcessResult broken = with(File("flipped.packed"));
  EXPECT_EQ(broken.exit_code, 3);
  EXPECT_NE(broken.err.find("wrong checksum of HBM["), std::string::npos) << broken.err;

  Output({"pack", TinyInt8(), "-q", "-o", File("tiny.packed")});
  const ProcessResult others = with(File("tiny.packed"));
  EXPECT_EQ(others.exit_code, 3);
  EXPECT_NE(others.err.find("packed from another model"), std::string::npos) << others.err;
  EXPECT_EQ(with(File("none.packed")).exit_code, 3);
}

TEST_F(EmulatedCard, FaultsHaveMessagesAndTheCpuGoesOn) {
  ExpectFails("absent", 3, {"FPGA device 0"});
  ExpectFails("busy", 1, {"busy"});
  ExpectFails("buffer:HBM[12];buffer:HBM[12]@2", 4, {"HBM[12]"});  // pinned pages, then a copy
  ExpectFails("buffer:HBM[20]", 4, {"keys of layer 0"});
  ExpectFails("hang:fc1@20", 1, {"nothing has ended for 1 s", "fc1, layer 3"}, {"--card-timeout", "1"});
  ExpectFails("error:attention@50", 1, {"attention, layer 1"});
  ExpectFails("error:lm_head@2", 1, {"lm_head"});
  ExpectFails("sync@30", 1, {});
}

TEST_F(EmulatedCard, AnInterruptEndsItCleanly) {
  ProcessOptions options =
      Command({"run", "--device", "u280-emu", "-m", DemoInt8(), "-n", "-1", "--ignore-eos", "-p", kPrompt});
  options.environment = {"PHIDIAS_CACHE=" + File("cache"), "PHIDIAS_EMU_STRICT=1"};
  options.signal_on_output = SIGINT;
  const ProcessResult result = Process::Run(options);
  EXPECT_EQ(result.exit_code, 130) << result.err;
  EXPECT_NE(result.err.find("interrupted"), std::string::npos) << result.err;
}

TEST_F(EmulatedCard, WritesATrace) {
  const ProcessResult result =
      OnCard({"run", "-m", DemoInt8(), "-n", "2", "-q", "--card-trace", File("trace.json"), "-p", kPrompt});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  const nlohmann::json events = ReadJson(File("trace.json"))["traceEvents"];
  int64_t runs = 0;
  for (const nlohmann::json& event : events) {
    runs += event["ph"] == "X" ? 1 : 0;
  }
  EXPECT_GT(runs, 8 * 10);
}

TEST_F(EmulatedCard, RefusesWhatTheDesignCantRun) {
  Output({"quantize", Demo(), "--activations", "dynamic", "--smooth", "none", "-q", "-o", File("dynamic")});
  const std::vector<std::string> run = {"run", "-m", File("dynamic"), "-n", "4", "-q", "-p", kPrompt};
  const ProcessResult refused = OnCard(run);
  EXPECT_EQ(refused.exit_code, 3);
  for (const char* words : {"model.layers.0.self_attn.q_proj", "dynamic", "--activations static", "--host-ops q"}) {
    EXPECT_NE(refused.err.find(words), std::string::npos) << refused.err;
  }
  std::vector<std::string> with_host = run;
  with_host.insert(with_host.end(), {"--host-ops", "linear"});
  EXPECT_EQ(OnCard(with_host).out, Output(run));
}

TEST(CardFlags, ThatMakeNoSense) {
  ExpectFailure({"run", "--device", "gpu", "x"}, 2, "--device");
  ExpectFailure({"run", "--packed", "x.packed", "x"}, 2, "--packed is for a card");
  ExpectFailure({"run", "--device", "u280-emu", "--host-ops", "softmax", "x"}, 2, "there is no \"softmax\"");
  ExpectFailure({"run", "--device", "u280-emu", "--design", "x", "x"}, 2, "no such design");
  ExpectFailure({"run", "--device", "u280-emu", "--design", "tiled", "x"}, 2, "use --arith integer");
  ExpectFailure({"run", "--device", "u280-emu", "--arith", "integer", "x"}, 2, "--arith integer");
  ExpectFailure({"run", "--device", "u280-emu", "--card-timeout", "0", "x"}, 2, "--card-timeout");
  ExpectFailure({"run", "--device", "u280", "-m", TinyInt8(), "x"}, 3, "tokenizer");
  ExpectFailure({"trace", TinyInt8(), "--device", "u280", "--ids", "1", "-o", "/tmp/x"}, 2, "--xclbin");
}

TEST(Plan, AsTableAndAsJson) {
  const nlohmann::json plan = JsonOutput({"plan", TinyInt8(), "--json"});
  EXPECT_EQ(plan["design"], "report");
  EXPECT_EQ(plan["hbm_masters"], 26);
  EXPECT_EQ(plan["lm_head"], "f32");
  // q and dense: 160 rows of slices of 64 bytes (160 / 4, padded), 3 layers, each rounded up to 4096.
  EXPECT_EQ(plan["banks"][1]["bank"], "HBM[0]");
  EXPECT_EQ(plan["banks"][1]["weight_bytes"], 2 * 3 * 12288);
  const std::string table = Output({"plan", TinyInt8()});
  EXPECT_NE(table.find("HBM[12]"), std::string::npos) << table;
  const std::string link = Output({"plan", TinyInt8(), "--link-file", "hw"});
  EXPECT_NE(link.find("sp=q.w0:HBM[0]"), std::string::npos) << link;
  ExpectFailure({"plan", TinyInt8(), "-c", "100000"}, 4, "100000 positions");
  ExpectFailure({"plan", TinyInt8(), "--design", "x"}, 2, "no such design");
}

TEST(Pack, RefusesWhatCantBePacked) {
  const ScratchDirectory scratch;
  ExpectFailure({"pack", Tiny(), "-o", scratch.File("x")}, 3, "quantise the model");
  ExpectFailure({"pack", TinyInt8()}, 2, "--output is required");
  ExpectFailure({"pack", TinyInt8(), "-o", scratch.File("no/x")}, 3, "no/x");
  struct stat info = {};
  EXPECT_NE(stat(scratch.File("x").c_str(), &info), 0) << "nothing may be written";
}

TEST_F(EmulatedCard, ServesSeveralSequencesWithTheCpusBits) {
  const std::string request =
      nlohmann::json{{"prompt", {"Once upon a time", "The sun"}}, {"n", 2}, {"max_tokens", 5}, {"seed", 3}}.dump();
  nlohmann::json choices[2];
  for (const bool on_card : {false, true}) {
    testing_support::ServerProcess server({"/usr/bin/env", "PHIDIAS_EMU_STRICT=1", "PHIDIAS_CACHE=" + File("cache"),
                                           PHIDIAS_PROGRAM, "serve", DemoInt8(), "--port", "0", "--device",
                                           on_card ? "u280-emu" : "cpu"});
    const int port = server.Port();
    ASSERT_TRUE(server.WaitFor("ready: ")) << server.err();
    const testing_support::HttpAnswer answer =
        testing_support::HttpClient(port).Ask("POST", "/v1/completions", request);
    ASSERT_EQ(answer.status, 200) << answer.body;
    choices[on_card ? 1 : 0] = answer.Json()["choices"];
    server.Signal(SIGTERM);
    EXPECT_EQ(server.Wait(), 0);
    EXPECT_EQ(server.err().find("VIOLATION"), std::string::npos) << server.err();
  }
  EXPECT_EQ(choices[0].size(), 4U);
  EXPECT_EQ(choices[0], choices[1]);
  const ProcessResult many = OnCard({"serve", DemoInt8(), "--port", "0", "--parallel", "200", "-q"});
  EXPECT_EQ(many.exit_code, 4);
  EXPECT_NE(many.err.find("lower --parallel"), std::string::npos) << many.err;
}

}  // namespace
}  // namespace phidias::testing
