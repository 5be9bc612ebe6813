#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "common/status.h"

namespace phidias::fpga {

enum class BufferId : int32_t {};
enum class RunId : int32_t {};

// What the back end needs of a card: buffers in named banks, and runs of compute units. Behind it: XRT, with a real
// card or an emulated one (xrt_card.h), or the kernels called directly (tests). One caller's thread.
//
// Errors name the unit or the bank, and are kIoError for what a device does wrong.
class CardDevice {
 public:
  virtual ~CardDevice() = default;

  virtual std::string Describe() const = 0;  // "xilinx_u280_..., xclbin ..."

  // `what` names the buffer in messages. Banks are tags: "HBM[3]". One that is on the card only has no host side.
  virtual Result<BufferId> Allocate(std::string_view bank, int64_t bytes, std::string_view what, bool card_only) = 0;
  // A buffer whose host side is the caller's memory: page-aligned, alive and unchanged as long as the buffer.
  virtual Result<BufferId> Wrap(std::string_view bank, std::span<const std::byte> memory, std::string_view what) = 0;
  // `bytes` from `offset` (a multiple of 4096) of another buffer, which must outlive it.
  virtual Result<BufferId> Part(BufferId whole, int64_t offset, int64_t bytes) = 0;
  virtual void Free(BufferId buffer) = 0;
  // The host's side of a buffer made by Allocate without card_only.
  virtual std::span<std::byte> Host(BufferId buffer) = 0;
  virtual Status ToCard(BufferId buffer) = 0;    // all of it
  virtual Status FromCard(BufferId buffer) = 0;  // all of it

  // A run of a unit, started as often as wanted. `what` names it in messages: "fc1, layer 3".
  virtual Result<RunId> NewRun(std::string_view unit, std::string_view what) = 0;
  virtual Status SetArgument(RunId run, std::string_view argument, BufferId buffer) = 0;
  virtual Status SetArgument(RunId run, std::string_view argument, int32_t value) = 0;
  virtual Status SetArgument(RunId run, std::string_view argument, float value) = 0;
  virtual Status Start(RunId run) = 0;
  // The next of the started runs to end. Errors: it failed (unit, what and state are named); kCancelled with an empty
  // message: nothing ended in time.
  virtual Result<RunId> WaitAny(std::chrono::milliseconds timeout) = 0;
  // What the started runs are doing, for the message after a time-out: "fc1, layer 3 (running)".
  virtual std::string RunningText() const = 0;
  // Gives up on every run that hasn't ended; none may be started afterwards.
  virtual void Abandon() = 0;
};

}  // namespace phidias::fpga
