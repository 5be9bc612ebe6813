// A model on the emulated card's design `tiled`, as a user runs it. Oracle: the same command with --device cpu. The
// card is strict: a violation of what a real one would want ends the process.

#include <gmock/gmock.h>

#include "tests/cli/emulated_card_fixture.h"

namespace phidias::testing {
namespace {

using ::testing::HasSubstr;

const char* const kPrompt = "Once upon a time";

// With the demo model in integers, quantised once for all tests.
class EmulatedTiles : public EmulatedCardTest {
 protected:
  static void SetUpTestSuite() { Prepare("demo-integer", {"--arith", "integer"}); }

  static std::string Model() { return File("demo-integer"); }

  static std::vector<std::string> Run(std::vector<std::string> more) {
    more.insert(more.begin(), {"run", "-m", Model(), "--arith", "integer", "--ignore-eos", "-p", kPrompt});
    return more;
  }
  static ProcessResult OnCard(std::vector<std::string> arguments, const std::string& faults = "") {
    return RunOnCard(std::move(arguments), faults, {"--design", "tiled"});
  }
};

TEST_F(EmulatedTiles, TheCardChoosesTheCpusTokensByItself) {
  for (const std::vector<std::string>& more :
       {std::vector<std::string>{"-n", "24"}, {"-n", "24", "--temp", "0.8", "--seed", "5"}}) {
    std::vector<std::string> run = Run(more);
    run.insert(run.end(), {"--json", "-q"});
    const nlohmann::json cpu = JsonOutput(run);
    const ProcessResult result = OnCard(run);
    ASSERT_EQ(result.exit_code, 0) << result.err;
    const nlohmann::json card = nlohmann::json::parse(result.out, nullptr, false);
    EXPECT_EQ(card["ids"], cpu["ids"]);
    EXPECT_EQ(card["text"], cpu["text"]);
    EXPECT_EQ(card["card"]["generated"], 23);
    EXPECT_EQ(card["card"]["runs"]["sequencer"], 1);
  }
}

TEST_F(EmulatedTiles, PackedOnceByHandOrByItself) {
  const std::vector<std::string> run = Run({"-n", "4"});
  const std::string want = Output(run);
  EXPECT_EQ(OnCard(run).out, want);
  EXPECT_THAT(OnCard(run).err, ::testing::Not(HasSubstr("packing"))) << "the cache has it";

  const std::string packed = File("demo.packed");
  Output({"pack", Model(), "--design", "tiled", "-q", "-o", packed});
  Output({"pack", Model(), "--design", "tiled", "-q", "-t", "1", "-o", File("again.packed")});
  std::string bytes = ReadText(packed);
  EXPECT_TRUE(bytes == ReadText(File("again.packed"))) << "deterministic";
  const std::vector<std::string> with = Run({"-n", "4", "-q", "--packed", packed});
  EXPECT_EQ(OnCard(with).out, want);

  const std::vector<std::string> doctor = {"doctor", "-m", Model(), "--packed", packed};
  EXPECT_THAT(OnCard(doctor).out, HasSubstr("whole, of this design and model"));
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
  WriteText(packed, bytes);
  EXPECT_THAT(OnCard(with).err, HasSubstr("wrong checksum of HBM["));
  EXPECT_THAT(OnCard(doctor).out, HasSubstr("the file was damaged"));
  ExpectFailure({"pack", Demo(), "--design", "tiled", "-o", packed}, 3, "quantize --arith integer");
  ExpectFailure({"pack", Model(), "--design", "tiled", "--host-ops", "q", "-o", packed}, 2, "--host-ops");
}

TEST_F(EmulatedTiles, TheDoctorKnowsTheDesign) {
  const std::string folder = std::string(PHIDIAS_PROGRAM).substr(0, std::string(PHIDIAS_PROGRAM).rfind('/'));
  EXPECT_THAT(OnCard({"doctor"}).out, HasSubstr("ok    design  tiled, 32 tiles"));
  EXPECT_THAT(OnCard({"doctor", "-m", Model()}).out, HasSubstr("ok    design  tiled, 4 tiles"));
  const std::vector<std::string> other = {"doctor", "-m", Model(), "--xclbin", folder + "/u280-emu/tiled-2.xclbin"};
  EXPECT_THAT(OnCard(other).out, HasSubstr("FAULT design"));
  const std::vector<std::string> report = {"doctor", "--xclbin", folder + "/u280-emu/report-f16.xclbin"};
  EXPECT_THAT(OnCard(report).out, HasSubstr("FAULT design"));
}

TEST_F(EmulatedTiles, TheCpuGoesOnWhereThereIsNoCard) {
  const std::vector<std::string> run = Run({"-n", "6", "--fallback", "cpu"});
  for (const char* faults : {"absent", "busy", "buffer:HBM[2]"}) {
    const ProcessResult result = OnCard(run, faults);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_EQ(result.out, Output(Run({"-n", "6"})));
    EXPECT_THAT(result.err, HasSubstr("going on with the CPU"));
  }
}

}  // namespace
}  // namespace phidias::testing
