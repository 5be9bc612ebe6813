#pragma once

#include <CLI/CLI.hpp>
#include <atomic>
#include <optional>
#include <string>

#include "backend/fpga/host_ops.h"
#include "cli/json.h"
#include "engine/loaded_model.h"

namespace phidias::cli {

// Where a verb's model runs: the CPU, a card, or the emulated one.
struct DeviceFlags {
  std::string device = "cpu";
  std::string design = "report";
  std::optional<std::string> xclbin;
  int64_t card = 0;
  std::optional<std::string> packed;
  std::string schedule = "parallel";
  fpga::HostOps host_ops;
  std::string fallback = "none";
  int64_t timeout = 60;  // seconds
  std::optional<std::string> card_trace;
};

// --design.
void AddDesignFlag(CLI::App& app, std::string* design);
// --host-ops.
void AddHostOpsFlag(CLI::App& app, fpga::HostOps* host_ops);
// All of DeviceFlags.
void AddDeviceFlags(CLI::App& app, DeviceFlags* flags);

// Turns the flags into LoadOptions::card (none for the CPU). Notices go to stderr. Errors: flags that don't go
// together, an emulated card that isn't there. A card itself is opened when the model is loaded.
Status ChooseDevice(const DeviceFlags& flags, const std::atomic<bool>* cancel, LoadOptions* options);

// What the card did, for --json: runs per unit, and what the emulated card counted. Null where none was used.
Json CardJson(const LoadedModel& model);

}  // namespace phidias::cli
