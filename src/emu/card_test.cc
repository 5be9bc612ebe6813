// The emulated card under the real XRT, through the same calls that the program makes (backend/fpga/xrt_card.h) and,
// for what those refuse to do, XRT's own. Each case runs in a process of its own (CTest), so that the environment of
// one doesn't reach another.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>
#include <xrt/xrt_bo.h>
#include <xrt/xrt_device.h>
#include <xrt/xrt_kernel.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <numeric>

#include "backend/fpga/xrt_card.h"
#include "emu/emulated_card.h"
#include "tests/support/emu_sample_design.h"

namespace phidias::emu {
namespace {

using fpga::BufferId;
using fpga::CardDevice;
using fpga::RunId;
using std::chrono::milliseconds;
using ::testing::HasSubstr;

constexpr int kCount = 5120;
constexpr int64_t kBytes = kCount * int64_t{4};  // whole pages: XRT's allocation takes nothing else

template <class T>
T Must(Result<T> result) {
  EXPECT_TRUE(result.ok()) << result.status().message();
  return *std::move(result);
}
void Must(const Status& status) {
  EXPECT_TRUE(status.ok()) << status.message();
}

class EmulatedCardThreads : public ::testing::Test {
 protected:
  EmulatedCardThreads() : xclbin_(PHIDIAS_SAMPLE_KERNELS) { Must(EnableEmulatedCard()); }

  // With the environment's settings of this moment.
  std::unique_ptr<CardDevice> Open() {
    const fpga::LinkFile link = SampleLink();
    return Must(fpga::OpenXrtCard({0, xclbin_.path(), &link}));
  }
  Status OpenError() {
    const auto card = fpga::OpenXrtCard({0, xclbin_.path(), nullptr});
    return card.ok() ? Status() : card.status();
  }

  static std::span<int32_t> Ints(CardDevice* card, BufferId buffer) {
    const std::span<std::byte> host = card->Host(buffer);
    return {reinterpret_cast<int32_t*>(host.data()), host.size() / 4};
  }
  static BufferId Filled(CardDevice* card, const char* bank, int32_t first) {
    const BufferId buffer = Must(card->Allocate(bank, kBytes, bank, false));
    std::iota(Ints(card, buffer).begin(), Ints(card, buffer).end(), first);
    Must(card->ToCard(buffer));
    return buffer;
  }
  static BufferId Empty(CardDevice* card, const char* bank) { return Must(card->Allocate(bank, kBytes, bank, false)); }
  static RunId Add(CardDevice* card, const char* unit, BufferId a, BufferId b, BufferId out) {
    const RunId run = Must(card->NewRun(unit, "layer 3"));
    Must(card->SetArgument(run, "a", a));
    Must(card->SetArgument(run, "b", b));
    Must(card->SetArgument(run, "out", out));
    Must(card->SetArgument(run, "n", int32_t{kCount}));
    return run;
  }
  static void Finish(CardDevice* card, RunId run) {
    const Result<RunId> ended = card->WaitAny(milliseconds(20000));
    ASSERT_TRUE(ended.ok()) << ended.status().message();
    EXPECT_EQ(*ended, run);
  }
  static nlohmann::json Report() { return nlohmann::json::parse(EmulatedCardReport()); }
  static nlohmann::json Row(const char* table, const char* key, const std::string& name) {
    const nlohmann::json report = Report();
    for (const auto& row : report[table]) {
      if (row[key] == name) {
        return row;
      }
    }
    ADD_FAILURE() << "no " << name << " in " << report.dump();
    return {};
  }
  static void Set(const char* name, const char* value) { setenv(name, value, 1); }

  const SampleXclbin xclbin_;
};

TEST_F(EmulatedCardThreads, RunsKernelsSideBySideAndCountsWhatTheyMove) {
  const auto card = Open();
  EXPECT_THAT(card->Describe(), HasSubstr("xilinx_u280_gen3x16_xdma"));
  const BufferId sum1 = Empty(card.get(), "HBM[2]");
  const BufferId sum2 = Empty(card.get(), "PLRAM[1]");
  const RunId add1 = Add(card.get(), "add1", Filled(card.get(), "HBM[0]", 0), Filled(card.get(), "HBM[1]", 7), sum1);
  const RunId add2 = Add(card.get(), "add2", Filled(card.get(), "HBM[16]", 1), Filled(card.get(), "DDR[0]", 1), sum2);
  Must(card->Start(add1));
  Must(card->Start(add2));
  std::vector<RunId> ended = {Must(card->WaitAny(milliseconds(20000))), Must(card->WaitAny(milliseconds(20000)))};
  std::sort(ended.begin(), ended.end());
  EXPECT_EQ(ended, (std::vector<RunId>{add1, add2}));
  Must(card->FromCard(sum1));
  Must(card->FromCard(sum2));
  for (int i = 0; i < kCount; ++i) {
    ASSERT_EQ(Ints(card.get(), sum1)[i], 2 * i + 7);
    ASSERT_EQ(Ints(card.get(), sum2)[i], 2 * i + 2);
  }
  const auto unit = Row("units", "unit", "add2");
  EXPECT_EQ(unit["runs"], 1);
  EXPECT_EQ(unit["ports"][1], (nlohmann::json{{"port", "b"}, {"banks", "DDR[0]"}, {"read", kBytes}, {"written", 0}}));
  EXPECT_EQ(unit["ports"][2]["written"], kBytes);
  const auto bank = Row("banks", "bank", "PLRAM[1]");
  EXPECT_EQ(bank["written"], kBytes);
  EXPECT_EQ(bank["from_device"], kBytes);
  EXPECT_EQ(bank["peak_bytes"], kBytes);
  EXPECT_EQ(Report()["violations"], 0);
}

TEST_F(EmulatedCardThreads, ARunIsRestartedWithNewScalarsAndDependentRunsFollow) {
  const auto card = Open();
  const BufferId sum = Empty(card.get(), "HBM[2]");
  const BufferId scaled = Empty(card.get(), "HBM[31]");
  const RunId add = Add(card.get(), "add1", Filled(card.get(), "HBM[0]", 0), Filled(card.get(), "HBM[1]", 1), sum);
  const RunId scale = Must(card->NewRun("scale", ""));
  Must(card->SetArgument(scale, "in", sum));
  Must(card->SetArgument(scale, "out", scaled));
  Must(card->SetArgument(scale, "n", int32_t{kCount}));
  for (int32_t factor = 1; factor <= 40; ++factor) {
    Must(card->SetArgument(scale, "factor", factor));
    Must(card->Start(add));
    Finish(card.get(), add);
    Must(card->Start(scale));
    Finish(card.get(), scale);
    Must(card->FromCard(scaled));
    ASSERT_EQ(Ints(card.get(), scaled)[kCount - 1], factor * (2 * kCount - 1));
  }
  EXPECT_EQ(Row("units", "unit", "scale")["runs"], 40);
  EXPECT_EQ(Report()["violations"], 0);
}

TEST_F(EmulatedCardThreads, WrapsHostMemoryAndCutsBuffersIntoParts) {
  const auto card = Open();
  auto* const pages = static_cast<int32_t*>(std::aligned_alloc(4096, 8 * 4096));
  std::iota(pages, pages + 8192, 100);
  const BufferId whole = Must(card->Wrap("HBM[2]", {reinterpret_cast<std::byte*>(pages), 8 * 4096}, "packed"));
  Must(card->ToCard(whole));
  const BufferId part = Must(card->Part(whole, 4096, 4096));
  const BufferId scaled = Empty(card.get(), "HBM[31]");
  const RunId scale = Must(card->NewRun("scale", ""));
  Must(card->SetArgument(scale, "in", part));
  Must(card->SetArgument(scale, "out", scaled));
  Must(card->SetArgument(scale, "factor", int32_t{-1}));
  Must(card->SetArgument(scale, "n", int32_t{1024}));
  Must(card->Start(scale));
  Finish(card.get(), scale);
  Must(card->FromCard(scaled));
  EXPECT_EQ(Ints(card.get(), scaled)[0], -1124);
  EXPECT_EQ(Ints(card.get(), scaled)[1023], -2147);
  card->Free(part);
  card->Free(whole);
  std::free(pages);
}

TEST_F(EmulatedCardThreads, HostOnlyMemoryNeedsNoTransfer) {
  const auto card = Open();
  const BufferId in = Filled(card.get(), "HBM[0]", 40);
  const BufferId out = Empty(card.get(), "HOST[0]");
  const Result<RunId> run = card->NewRun("peek", "");
  Must(card->SetArgument(*run, "in", in));
  Must(card->SetArgument(*run, "out", out));
  EXPECT_THAT(card->SetArgument(*run, "index", int32_t{2}).message(), HasSubstr("index is not a scalar of 4 bytes"));
}

TEST_F(EmulatedCardThreads, DeviceMemoryIsDirtyUntilItIsWritten) {
  const auto card = Open();
  const BufferId buffer = Empty(card.get(), "HBM[2]");
  Must(card->FromCard(buffer));
  EXPECT_EQ(Ints(card.get(), buffer)[kCount - 1], static_cast<int32_t>(0xA5A5A5A5));
}

TEST_F(EmulatedCardThreads, RefusesABufferInABankThatThePortIsNotWiredTo) {
  const auto card = Open();
  const RunId run = Must(card->NewRun("add1", "layer 3"));
  const Status status = card->SetArgument(run, "out", Empty(card.get(), "PLRAM[1]"));
  EXPECT_EQ(status.message(),
            "compute unit add1 (vadd), layer 3: out is wired to HBM[2], but PLRAM[1] lies in PLRAM[1]");
  EXPECT_THAT(card->SetArgument(run, "c", int32_t{1}).message(), HasSubstr("the kernel has no argument c"));
  EXPECT_THAT(card->NewRun("add9", "").status().message(), HasSubstr("no compute unit add9"));
  EXPECT_THAT(card->Allocate("HBM[9]", 4096, "x", false).status().message(), HasSubstr("uses no memory HBM[9]"));
}

TEST_F(EmulatedCardThreads, AFullBankIsAnErrorThatNamesIt) {
  const auto card = Open();
  std::vector<BufferId> buffers;
  for (int i = 0; i < 4; ++i) {
    buffers.push_back(Must(card->Allocate("HBM[0]", 64 << 20, "quarter", true)));
  }
  const Status status = card->Allocate("HBM[0]", 64, "the last straw", false).status();
  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(status.message(), HasSubstr("the last straw: 64 bytes in HBM[0]"));
  card->Free(buffers[1]);
  Must(card->Allocate("HBM[0]", 64 << 20, "quarter", true));
  EXPECT_EQ(card->Allocate("PLRAM[1]", 200000, "x", false).status().code(), StatusCode::kResourceExhausted);
}

TEST_F(EmulatedCardThreads, AKernelThatStallsIsAnError) {
  const auto card = Open();
  const RunId run = Must(card->NewRun("stall", "layer 1"));
  Must(card->SetArgument(run, "out", Empty(card.get(), "HBM[5]")));
  ::testing::internal::CaptureStderr();
  Must(card->Start(run));
  const Status status = card->WaitAny(milliseconds(20000)).status();
  EXPECT_THAT(::testing::internal::GetCapturedStderr(), HasSubstr("stall: vstall: stage Read waits for stream beats"));
  EXPECT_EQ(status.code(), StatusCode::kIoError);
  EXPECT_THAT(status.message(), HasSubstr("compute unit stall (vstall), layer 1 failed: its state is \"error\""));
}

TEST_F(EmulatedCardThreads, AKernelThatHangsTimesOutAndIsGivenUp) {
  Set("PHIDIAS_EMU_FAULTS", "hang:add1@2");
  const auto card = Open();
  const RunId run = Add(card.get(), "add1", Filled(card.get(), "HBM[0]", 0), Filled(card.get(), "HBM[1]", 7),
                        Empty(card.get(), "HBM[2]"));
  Must(card->Start(run));
  Finish(card.get(), run);
  Must(card->Start(run));
  const Status status = card->WaitAny(milliseconds(50)).status();
  EXPECT_EQ(status.code(), StatusCode::kCancelled);
  EXPECT_EQ(card->RunningText(), "compute unit add1 (vadd), layer 3 (running)");
  card->Abandon();
  EXPECT_EQ(card->RunningText(), "");
  EXPECT_THAT(card->Start(run).message(), HasSubstr("given up"));
}

TEST_F(EmulatedCardThreads, ACardThatHangsIsClosedWithoutWaiting) {
  Set("PHIDIAS_EMU_FAULTS", "hang:add1");
  const auto card = Open();
  const RunId run = Add(card.get(), "add1", Filled(card.get(), "HBM[0]", 0), Filled(card.get(), "HBM[1]", 7),
                        Empty(card.get(), "HBM[2]"));
  Must(card->Start(run));
}

TEST_F(EmulatedCardThreads, InjectedErrorsReachTheCaller) {
  Set("PHIDIAS_EMU_FAULTS", "error:add1@3;buffer:HBM[5]@2;sync:HBM[2]");
  const auto card = Open();
  const BufferId out = Empty(card.get(), "HBM[2]");
  const RunId run = Add(card.get(), "add1", Filled(card.get(), "HBM[0]", 0), Filled(card.get(), "HBM[1]", 7), out);
  for (int i = 0; i < 2; ++i) {
    Must(card->Start(run));
    Finish(card.get(), run);
  }
  Must(card->Start(run));
  EXPECT_THAT(card->WaitAny(milliseconds(20000)).status().message(), HasSubstr("its state is \"error\""));
  Must(card->Allocate("HBM[5]", 64, "first", false));
  EXPECT_THAT(card->Allocate("HBM[5]", 64, "second", false).status().message(),
              HasSubstr("second: 64 bytes in HBM[5]"));
  EXPECT_THAT(card->FromCard(out).message(), HasSubstr("transfer from the card failed"));
  Must(card->FromCard(out));
}

TEST_F(EmulatedCardThreads, ABusyOrAbsentCardIsSaid) {
  Set("PHIDIAS_EMU_FAULTS", "busy");
  EXPECT_THAT(OpenError().message(), HasSubstr("another process uses the card"));
  Set("PHIDIAS_EMU_FAULTS", "absent");
  EXPECT_EQ(OpenError().code(), StatusCode::kNotFound);
  EXPECT_EQ(Must(fpga::ListXrtDevices()).size(), 0U);
}

TEST_F(EmulatedCardThreads, IsListed) {
  const auto devices = Must(fpga::ListXrtDevices());
  ASSERT_EQ(devices.size(), 1U);
  EXPECT_EQ(devices[0].shell, "xilinx_u280_gen3x16_xdma_base_1");
  EXPECT_EQ(devices[0].problem, "");
}

TEST_F(EmulatedCardThreads, OneXclbinAtATime) {
  const auto card = Open();
  EXPECT_THAT(OpenError().message(), HasSubstr("another process uses the card"));
}

TEST_F(EmulatedCardThreads, RefusesAnXclbinOfAnotherDesign) {
  fpga::LinkFile other = SampleLink();
  other.ports[2].banks.first = other.ports[2].banks.last = 4;
  const Status status = fpga::OpenXrtCard({0, xclbin_.path(), &other}).status();
  EXPECT_EQ(status.code(), StatusCode::kDataError);
  EXPECT_THAT(status.message(), HasSubstr("add1.out is wired to HBM[2], expected HBM[4]"));
}

TEST_F(EmulatedCardThreads, RefusesBrokenXclbins) {
  const std::string good = Must(ReadFile(xclbin_.path(), size_t{64} << 20));
  for (const size_t keep : {size_t{0}, size_t{7}, size_t{400}, size_t{600}, good.size() / 2}) {
    std::ofstream(xclbin_.path(), std::ios::binary) << good.substr(0, keep);
    EXPECT_EQ(OpenError().code(), StatusCode::kDataError) << keep;
  }
  std::string bad = good;
  bad[456 + 24 + 5] = 1;  // the first section's offset
  std::ofstream(xclbin_.path(), std::ios::binary) << bad;
  EXPECT_THAT(OpenError().message(), HasSubstr("section 0 lies outside the file"));
  std::ofstream(xclbin_.path(), std::ios::binary) << good + "x";
  EXPECT_THAT(OpenError().message(), HasSubstr("bytes long, its header says"));
  EXPECT_EQ(fpga::OpenXrtCard({0, "/no/such.xclbin", nullptr}).status().code(), StatusCode::kNotFound);
}

// A file that the card writes when XRT lets go of it, which may be on a thread of XRT's, a moment after the card's
// owner has.
nlohmann::json WaitForJson(const std::string& path) {
  for (int attempt = 0; attempt < 2000; ++attempt) {
    const auto text = ReadFile(path, 1 << 20);
    if (text.ok() && nlohmann::json::accept(*text)) {
      return nlohmann::json::parse(*text);
    }
    usleep(10000);
  }
  ADD_FAILURE() << path << " was not written";
  return {};
}

TEST_F(EmulatedCardThreads, WritesATraceAndAReport) {
  const std::string trace = xclbin_.path() + ".trace";
  const std::string report = xclbin_.path() + ".report";
  Set("PHIDIAS_EMU_TRACE", trace.c_str());
  Set("PHIDIAS_EMU_REPORT", report.c_str());
  {
    const auto card = Open();
    const RunId run = Add(card.get(), "add1", Filled(card.get(), "HBM[0]", 0), Filled(card.get(), "HBM[1]", 7),
                          Empty(card.get(), "HBM[2]"));
    Must(card->Start(run));
    Finish(card.get(), run);
  }
  const auto events = WaitForJson(trace)["traceEvents"];
  const auto found =
      std::find_if(events.begin(), events.end(), [](const auto& event) { return event["name"] == "vadd:add1"; });
  ASSERT_NE(found, events.end());
  EXPECT_EQ((*found)["ph"], "X");
  EXPECT_EQ((*found)["args"], (nlohmann::json{{"run", 1}, {"read", 2 * kBytes}, {"written", kBytes}}));
  EXPECT_EQ(WaitForJson(report)["units"][0]["runs"], 1);
  std::remove(trace.c_str());
  std::remove(report.c_str());
}

// What CardDevice doesn't let anyone do, through XRT itself.
class EmulatedCardViolations : public EmulatedCardThreads {
 protected:
  EmulatedCardViolations() {
    Set("PHIDIAS_EMU_LAUNCH_US", "50000");  // a run is still there when the next call comes
    device_ = xrt::device(0);
    uuid_ = device_.load_xclbin(xclbin_.path());
  }

  xrt::kernel Kernel(const char* name) { return {device_, uuid_, name}; }
  xrt::bo Buffer(const xrt::kernel& kernel, int argument, bool sync = true) {
    xrt::bo buffer(device_, kBytes, kernel.group_id(argument));
    std::memset(buffer.map(), 0, kBytes);
    if (sync) {
      buffer.sync(XCL_BO_SYNC_BO_TO_DEVICE);
    }
    return buffer;
  }
  // Runs `act` and returns what the card complained about.
  template <class Act>
  std::string Complaint(Act&& act) {
    ::testing::internal::CaptureStderr();
    act();
    return ::testing::internal::GetCapturedStderr();
  }

  xrt::device device_;
  xrt::uuid uuid_;
};

TEST_F(EmulatedCardViolations, XrtsSilentCopyOfAWrongBuffer) {
  xrt::kernel add = Kernel("vadd:{add1}");
  xrt::kernel scale = Kernel("vscale:{scale}");
  xrt::bo wrong = Buffer(scale, 1);
  xrt::bo a = Buffer(add, 0);  // XRT's runs don't keep their buffers alive
  xrt::bo b = Buffer(add, 1);
  EXPECT_THAT(Complaint([&] {
                xrt::run run = add(a, b, wrong, kCount);
                run.wait();
              }),
              HasSubstr("XRT copied a whole buffer from HBM[31] to HBM[2]"));
}

TEST_F(EmulatedCardViolations, ForeignBankByAddress) {
  xrt::kernel add = Kernel("vadd:{add1}");
  xrt::kernel scale = Kernel("vscale:{scale}");
  xrt::bo foreign = Buffer(scale, 1);
  xrt::bo a = Buffer(add, 0);
  xrt::bo b = Buffer(add, 1);
  xrt::run run(add);
  run.set_arg(0, a);
  run.set_arg(1, b);
  const uint64_t address = foreign.address();
  run.set_arg(2, address);
  run.set_arg(3, kCount);
  EXPECT_THAT(Complaint([&] {
                run.start();
                EXPECT_EQ(run.wait(), ERT_CMD_STATE_ERROR);
              }),
              HasSubstr("add1.out: device address 0x1f0000000 is outside the banks this port is wired to"));
}

TEST_F(EmulatedCardViolations, MissingWaitAndSyncDuringARun) {
  xrt::kernel add = Kernel("vadd:{add1}");
  xrt::kernel scale = Kernel("vscale:{scale}");
  xrt::bo sum = Buffer(add, 2);
  xrt::bo scaled = Buffer(scale, 1);
  xrt::bo a = Buffer(add, 0);
  xrt::bo b = Buffer(add, 1);
  const std::string complaint = Complaint([&] {
    xrt::run first(add);
    first.set_arg(0, a);
    first.set_arg(1, b);
    first.set_arg(2, sum);
    first.set_arg(3, kCount);
    first.start();
    xrt::run second = scale(sum, scaled, 2, kCount);
    sum.sync(XCL_BO_SYNC_BO_FROM_DEVICE);
    first.wait();
    second.wait();
  });
  EXPECT_THAT(complaint, HasSubstr("scale submitted while add1 still uses device memory 0x20000000"));
  EXPECT_THAT(complaint, HasSubstr("sync from the device at 0x20000000 while add1"));
}

TEST_F(EmulatedCardViolations, MissingSyncToTheDevice) {
  xrt::kernel scale = Kernel("vscale:{scale}");
  xrt::bo in = Buffer(scale, 0, false);
  xrt::bo out = Buffer(scale, 1);
  EXPECT_THAT(Complaint([&] { scale(in, out, 2, kCount).wait(); }),
              HasSubstr("scale.in: reads the buffer at 0x20000000, which nobody has written"));
}

TEST_F(EmulatedCardThreads, AViolationEndsTheProcessInStrictMode) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  Set("PHIDIAS_EMU_STRICT", "1");
  EXPECT_DEATH(
      {
        xrt::device device(0);
        const xrt::uuid uuid = device.load_xclbin(xclbin_.path());
        std::remove(xclbin_.path().c_str());  // nobody else will: this process made one of its own, and dies
        xrt::kernel scale(device, uuid, "vscale:{scale}");
        xrt::bo in(device, kBytes, scale.group_id(0));
        xrt::bo out(device, kBytes, scale.group_id(1));
        scale(in, out, 2, kCount).wait();
      },
      "VIOLATION: scale.in: reads the buffer");
}

TEST_F(EmulatedCardThreads, AStrayAccessOfAKernelTellsThePort) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        xrt::device device(0);
        const xrt::uuid uuid = device.load_xclbin(xclbin_.path());
        std::remove(xclbin_.path().c_str());  // nobody else will: this process made one of its own, and dies
        xrt::kernel peek(device, uuid, "vpeek:{peek}");
        xrt::bo in(device, kBytes, peek.group_id(0));
        in.sync(XCL_BO_SYNC_BO_TO_DEVICE);
        xrt::bo out(device, kBytes, xrt::bo::flags::host_only, peek.group_id(1));
        peek(in, out, int64_t{8192}).wait();
      },
      "kernel behind peek.in touched device address 0x8000");
}

}  // namespace
}  // namespace phidias::emu
