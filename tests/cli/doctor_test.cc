// `phidias devices` and `phidias doctor`: what they find on the emulated card, and what they say about each fault.

#include <gmock/gmock.h>

#include "tests/cli/cli_test_util.h"

namespace phidias::testing {
namespace {

using ::testing::HasSubstr;

std::string Int8() {
  return Root() + "/tests/golden/tiny-phi2-int8";
}

// Whether the program that is tested has the emulated card beside it.
bool HasEmulatedCard() {
  return std::ifstream(std::string(PHIDIAS_PROGRAM).substr(0, std::string(PHIDIAS_PROGRAM).rfind('/')) +
                       "/u280-emu/xrt/lib/libxrt_core.so.2")
      .good();
}

// What the doctor says, with these environment variables on top.
ProcessResult Examine(std::vector<std::string> arguments, std::vector<std::string> environment = {}) {
  arguments.insert(arguments.begin(), {"doctor", "--device", "u280-emu"});
  ProcessOptions options = Command(std::move(arguments));
  options.environment = std::move(environment);
  return Process::Run(options);
}

// It finds the fault (one, the last line but for its advice) and exits with 3.
void ExpectFault(const ProcessResult& result, const std::string& fault, const std::string& advice) {
  EXPECT_EQ(result.exit_code, 3) << result.err;
  EXPECT_THAT(result.out, HasSubstr("FAULT " + fault));
  EXPECT_THAT(result.out, HasSubstr("do: " + advice));
  EXPECT_THAT(result.err, HasSubstr("phidias doctor: u280-emu can't be used as it is"));
}

class DoctorOfTheEmulatedCard : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!HasEmulatedCard()) {
      GTEST_SKIP() << "no emulated card: Debian's libxrt-dev 2.13 isn't installed";
    }
  }
};

TEST(Devices, ListsWhatDeviceTakes) {
  const auto json = JsonOutput({"devices", "--json"});
  const auto& devices = json["devices"];
  ASSERT_GE(devices.size(), 3U);
  EXPECT_EQ(devices[0]["device"], "cpu");
  EXPECT_EQ(devices[0]["usable"], true);
  EXPECT_EQ(devices.back()["device"], "u280-emu");
  EXPECT_EQ(devices.back()["usable"], HasEmulatedCard());
  EXPECT_THAT(Output({"devices"}), HasSubstr("cpu "));
  ExpectFailure({"devices", "x"}, 2, "x");
}

TEST(Devices, TellsWhereTheEmulatedCardShouldBe) {
  ProcessOptions options = Command({"devices"});
  options.environment = {"PHIDIAS_EMU_DIR=/no/such/folder"};
  EXPECT_THAT(Process::Run(options).out, HasSubstr("no \"/no/such/folder/xrt/lib/libxrt_core.so.2\""));
}

TEST(Doctor, SaysHowToGetAtARealCard) {
  ProcessOptions options = Command({"doctor"});
  options.environment = {"XILINX_XRT=/no/such/folder"};
  const ProcessResult result = Process::Run(options);
  EXPECT_EQ(result.exit_code, 3) << result.err;
  EXPECT_THAT(result.out, HasSubstr("FAULT "));
  EXPECT_THAT(result.out, HasSubstr("do: "));
}

TEST(Doctor, RefusesBadFlags) {
  ExpectFailure({"doctor", "--device", "cpu"}, 2, "--device");
  ExpectFailure({"doctor", "--design", "nonsense"}, 2, "nonsense");
  ExpectFailure({"doctor", "-m", "/no/such/model"}, 3, "/no/such/model");
  ExpectFailure({"doctor", "--card", "-1"}, 2, "--card");
}

TEST_F(DoctorOfTheEmulatedCard, FindsItWell) {
  const auto json = JsonOutput({"doctor", "--device", "u280-emu", "-m", Int8(), "--json"});
  EXPECT_EQ(json["ok"], true) << json.dump();
  std::vector<std::string> checks;
  for (const auto& check : json["checks"]) {
    checks.push_back(check["check"]);
  }
  EXPECT_EQ(checks, (std::vector<std::string>{"XRT", "card", "shell", "xclbin", "design", "load"}));
  EXPECT_THAT(Output({"doctor", "--device", "u280-emu"}), HasSubstr("ok    design  report, lm_head of f16"));
}

TEST_F(DoctorOfTheEmulatedCard, CardAbsentOrBusy) {
  ExpectFault(Examine({}, {"PHIDIAS_EMU_FAULTS=absent"}), "card    XRT sees 0 cards, no card 0", "lspci");
  ExpectFault(Examine({}, {"PHIDIAS_EMU_FAULTS=busy"}), "load    ", "see the message");
  EXPECT_THAT(Examine({}, {"PHIDIAS_EMU_FAULTS=busy"}).out, HasSubstr("another process uses the card"));
  ExpectFault(Examine({"--card", "3"}), "card    XRT sees 1 cards, no card 3", "lspci");
}

TEST_F(DoctorOfTheEmulatedCard, XclbinAbsentBrokenOrOfAnotherKind) {
  const ScratchDirectory scratch;
  ExpectFault(Examine({"--xclbin", "/no/such.xclbin"}), "xclbin  /no/such.xclbin", "copy or build it again");
  WriteText(scratch.File("a.xclbin"), "xclbin2 but not really");
  ExpectFault(Examine({"--xclbin", scratch.File("a.xclbin")}), "xclbin  " + scratch.File("a.xclbin"), "copy or build");
  // The demo checkpoint's lm_head isn't of the type that this one is for.
  const std::string folder = std::string(PHIDIAS_PROGRAM).substr(0, std::string(PHIDIAS_PROGRAM).rfind('/'));
  ExpectFault(Examine({"--xclbin", folder + "/u280-emu/report-bf16.xclbin", "-m", Int8()}),
              "design  " + folder + "/u280-emu/report-bf16.xclbin: linked for another design",
              "give the xclbin that was built for this design");
}

TEST_F(DoctorOfTheEmulatedCard, PackedModelWholeDamagedOrOfAnotherModel) {
  const ScratchDirectory scratch;
  const std::string packed = scratch.File("tiny.packed");
  ASSERT_EQ(Phidias({"pack", Int8(), "-o", packed}).exit_code, 0);
  EXPECT_THAT(Output({"doctor", "--device", "u280-emu", "-m", Int8(), "--packed", packed}),
              HasSubstr("ok    packed  " + packed + ": whole, of this design and model"));
  std::string bytes = ReadText(packed);
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
  WriteText(packed, bytes);
  ExpectFault(Examine({"--packed", packed}), "packed  ", "the file was damaged: make it again with phidias pack");
  WriteText(packed, "PHIDPACK");
  ExpectFault(Examine({"--packed", packed}), "packed  " + packed, "make it again: phidias pack MODEL -o FILE");
}

}  // namespace
}  // namespace phidias::testing
