#pragma once

// What the environment asks of the emulated card (docs/fpga-emulation.md has the table).

#include <cstdint>
#include <string>
#include <vector>

namespace phidias::emu {

enum class FaultKind {
  kHang,    // a run that never ends
  kError,   // a run that ends with ERT_CMD_STATE_ERROR
  kBuffer,  // a buffer that can't be had
  kSync,    // a transfer that fails: the card has fallen off the bus
  kBusy,    // the xclbin can't be loaded: another process holds the card
  kAbsent,  // no card
};

// One entry of PHIDIAS_EMU_FAULTS: KIND[:TARGET][@COUNT]. It strikes at the COUNT-th occasion that fits (1: the first),
// once; kBusy and kAbsent for as long as they stand there.
struct Fault {
  FaultKind kind = FaultKind::kHang;
  std::string target;  // a compute unit or a bank; empty: any
  uint64_t count = 1;
};

struct Settings {
  bool strict = false;      // the first violation ends the process
  bool poison = true;       // fresh device memory holds 0xA5, not zeros
  std::string trace_path;   // Chrome trace
  std::string report_path;  // JSON, written when the card closes; "-" is stderr
  uint64_t launch_us = 0;   // added to every run
  uint64_t jitter_us = 0;   // up to this much more, at random
  uint64_t seed = 1;        // of the jitter
  std::vector<Fault> faults;
};

// Errors in PHIDIAS_EMU_FAULTS go to stderr and end the process: a test that thinks it injects a fault must not pass.
Settings ReadSettings();

// Exposed for tests: `error` says what is wrong, in which case the list is empty.
std::vector<Fault> ParseFaults(const std::string& text, std::string* error);

}  // namespace phidias::emu
