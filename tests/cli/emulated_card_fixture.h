#pragma once

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "tests/cli/cli_test_util.h"

namespace phidias::testing {

// Commands on the emulated card, which is strict: a violation of what a real one would want ends the process. All
// tests of a suite share a directory, with a model in it that is quantised once.
class EmulatedCardTest : public ::testing::Test {
 protected:
  // `quantize DEMO` with these flags into File(name).
  static void Prepare(const std::string& name, std::vector<std::string> flags) {
    scratch_ = new ScratchDirectory;
    if (HasEmulatedCard()) {
      flags.insert(flags.begin(), {"quantize", Demo(), "--calibration", Root() + "/tests/data/calib32.jsonl",
                                   "--samples", "8", "-q", "-o", File(name)});
      Output(flags);
    }
  }
  static void TearDownTestSuite() { delete scratch_; }
  void SetUp() override {
    if (!HasEmulatedCard()) {
      GTEST_SKIP() << "built without XRT: no emulated card";
    }
  }

  static std::string File(const std::string& name) { return scratch_->File(name); }

  // `arguments`, verb first, on the card, with `device` flags beside --device.
  static ProcessResult RunOnCard(std::vector<std::string> arguments, const std::string& faults,
                                 const std::vector<std::string>& device = {}) {
    arguments.insert(arguments.begin() + 1, {"--device", "u280-emu"});
    arguments.insert(arguments.begin() + 3, device.begin(), device.end());
    ProcessOptions options = Command(std::move(arguments));
    options.environment = {"PHIDIAS_CACHE=" + File("cache"), "PHIDIAS_EMU_STRICT=1"};
    if (!faults.empty()) {
      options.environment.push_back("PHIDIAS_EMU_FAULTS=" + faults);
    }
    ProcessResult result = Process::Run(options);
    EXPECT_FALSE(result.timed_out);
    EXPECT_EQ(result.err.find("VIOLATION"), std::string::npos) << result.err;
    return result;
  }

 private:
  static inline ScratchDirectory* scratch_ = nullptr;
};

}  // namespace phidias::testing
