// The xclbin maker: what it refuses, and that the same input makes the same file. That XRT reads it is card_test.cc's.

#include "emu/xclbin/xclbin.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "emu/xclbin/sections.h"
#include "tests/support/emu_sample_design.h"

namespace phidias::emu {
namespace {

using ::testing::HasSubstr;

TEST(Xclbin, IsDeterministicAndDependsOnTheKernels) {
  const auto make = [](const char* library) {
    const Result<std::string> made = MakeXclbin(SampleLink(), SampleKernels(), library);
    EXPECT_TRUE(made.ok()) << made.status().message();
    return *made;
  };
  EXPECT_EQ(make("code"), make("code"));
  EXPECT_NE(make("code"), make("edoc"));
  EXPECT_TRUE(make("code").starts_with("xclbin2"));
}

TEST(Xclbin, RefusesWhatTheLinterFinds) {
  fpga::LinkFile link = SampleLink();
  link.ports[0].argument = std::string(1, 'z');
  EXPECT_THAT(MakeXclbin(link, SampleKernels(), "").status().message(), HasSubstr("kernel vadd has no argument z"));
}

// Streams are listed beside the memories, take no registers, and units with nothing else run by themselves.
TEST(Xclbin, ListsStreamsBetweenUnits) {
  std::vector<fpga::KernelSignature> kernels = SampleKernels();
  kernels.push_back({"source", {{"out", fpga::ArgumentKind::kStreamOut, "stream", 0, 512, false, ""}}});
  kernels.push_back({"sink", {{"in", fpga::ArgumentKind::kStreamIn, "stream", 0, 512, false, ""}}});
  fpga::LinkFile link = SampleLink();
  link.units.push_back({"first", "source", -1});
  link.units.push_back({"second", "sink", -1});
  link.streams.push_back({"first", "out", "second", "in", 64});
  const auto made = MakeXclbin(link, kernels, "");
  ASSERT_TRUE(made.ok()) << made.status().message();
  EXPECT_NE(made->find("dc_0"), std::string::npos);
  EXPECT_NE(made->find("<instance name=\"first\"/>"), std::string::npos);
  EXPECT_NE(made->find("hwControlProtocol=\"ap_ctrl_none\""), std::string::npos);
  EXPECT_NE(made->find("addressQualifier=\"4\""), std::string::npos);
  const fpga::KernelSignature mixed = {"mixed",
                                       {{"in", fpga::ArgumentKind::kStreamIn, "stream", 0, 512, false, ""},
                                        {"n", fpga::ArgumentKind::kScalar, "int32_t", 4, 0, false, ""}}};
  EXPECT_EQ(RegisterOffsets(mixed), (std::vector<int>{0, 0x10}));
  const Hardware hardware = Resolve(link, kernels);
  EXPECT_EQ(hardware.units.back().interrupt, 0);
  EXPECT_TRUE(hardware.banks.back().is_stream);
  EXPECT_EQ(hardware.banks.back().depth, 64);
}

TEST(Xclbin, RegisterMapsAreThoseOfVitisHls) {
  EXPECT_EQ(RegisterOffsets(SampleKernels()[0]), (std::vector<int>{0x10, 0x1c, 0x28, 0x34}));
  EXPECT_EQ(RegisterOffsets(SampleKernels()[2]), (std::vector<int>{0x10, 0x1c, 0x28}));
}

}  // namespace
}  // namespace phidias::emu
