#pragma once

// The sample kernels' design: how they are wired, as a link file and as an xclbin.

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include "common/file.h"
#include "emu/xclbin/xclbin.h"

namespace phidias::emu {

inline std::vector<fpga::KernelSignature> SampleKernels() {
  using fpga::ArgumentKind;
  const auto memory = [](const char* name, const char* bundle, bool writes) {
    return fpga::KernelArgument{name, ArgumentKind::kMemory, "int*", 8, 32, writes, bundle};
  };
  const auto scalar = [](const char* name, int bytes) {
    return fpga::KernelArgument{name, ArgumentKind::kScalar, bytes == 4 ? "int" : "long", bytes, 0, false, ""};
  };
  return {
      {"vadd",
       {memory("a", "gmem0", false), memory("b", "gmem1", false), memory("out", "gmem2", true), scalar("n", 4)}},
      {"vscale", {memory("in", "gmem0", false), memory("out", "gmem1", true), scalar("factor", 4), scalar("n", 4)}},
      {"vpeek", {memory("in", "gmem0", false), memory("out", "gmem1", true), scalar("index", 8)}},
      {"vstall", {memory("out", "gmem0", true)}},
  };
}

inline constexpr const char* kSampleLink = R"(# two adders, dependent kernels, every kind of memory
platform=xilinx_u280_gen3x16_xdma_1_202211_1
[connectivity]
nk=vadd:2:add1.add2
nk=vscale:1:scale
nk=vpeek:1:peek
nk=vstall:1:stall
sp=add1.a:HBM[0]
sp=add1.b:HBM[1]
sp=add1.out:HBM[2]
sp=add2.a:HBM[16]
sp=add2.b:DDR[0]
sp=add2.out:PLRAM[1]
sp=scale.in:HBM[2:3]
sp=scale.out:HBM[31]
sp=peek.in:HBM[0]
sp=peek.out:HOST[0]
sp=stall.out:HBM[5]
slr=add1:SLR0
slr=add2:SLR1
)";

inline fpga::LinkFile SampleLink() {
  const Result<fpga::LinkFile> link = fpga::ParseLinkFile(kSampleLink, "sample.cfg");
  EXPECT_TRUE(link.ok()) << link.status().message();
  return *link;
}

// An xclbin in a temporary file.
class SampleXclbin {
 public:
  explicit SampleXclbin(const std::string& kernel_library) {
    const Result<std::string> library = ReadFile(kernel_library, size_t{64} << 20);
    EXPECT_TRUE(library.ok()) << library.status().message();
    const Result<std::string> bytes = MakeXclbin(SampleLink(), SampleKernels(), *library);
    EXPECT_TRUE(bytes.ok()) << bytes.status().message();
    path_ = ::testing::TempDir() + "phidias-sample-XXXXXX";
    const int fd = mkstemp(path_.data());
    EXPECT_GE(fd, 0);
    close(fd);
    std::ofstream(path_, std::ios::binary) << *bytes;
  }
  SampleXclbin(const SampleXclbin&) = delete;
  SampleXclbin& operator=(const SampleXclbin&) = delete;
  ~SampleXclbin() { std::remove(path_.c_str()); }

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace phidias::emu
