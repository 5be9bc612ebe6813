#pragma once

#include <CLI/CLI.hpp>
#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/device_flags.h"
#include "cli/prompt.h"
#include "cli/sampling_flags.h"
#include "common/status.h"
#include "engine/generate.h"
#include "engine/prompt_form.h"

namespace phidias::cli {

// Text of a prompt, or of a file of prompts.
inline constexpr size_t kMaxPromptBytes = size_t{64} << 20;
inline constexpr size_t kMaxPromptFileBytes = size_t{256} << 20;

// Flags of `phidias run`.
struct RunFlags {
  PromptOption prompt;
  std::optional<std::string> prompts;  // a file of them
  int64_t parallel = 8;
  std::string format = "raw";
  CpuOptions cpu;
  Arithmetic arithmetic = Arithmetic::kFloat;
  WeightLoad load = WeightLoad::kAuto;
  DeviceFlags device;
  SamplingFlags sampling;
  int64_t predict = 128;
  int64_t context = 0;
  int64_t batch = 512;
  int64_t lookup = 0;
  bool ignore_eos = false;
  std::vector<std::string> stop;
  bool json = false;
  bool quiet = false;
};

void AddRunFlags(CLI::App& app, RunFlags* flags);

// `text` as the flags' --prompt-format has it.
PromptForm FormOf(const RunFlags& flags, std::string_view text);

// What the flags say about every sequence; `format`'s own stop strings included. Errors: an empty stop string, a bad
// escape, sampling out of range.
Result<SequenceOptions> SequenceOptionsOf(const RunFlags& flags);

// The model that the flags choose, on the device that they choose; `seconds`: how long that took. A card's runs watch
// `cancel`.
Result<LoadedModel> LoadForRun(const std::string& path, const RunFlags& flags, const std::atomic<bool>* cancel,
                               double* seconds);

}  // namespace phidias::cli
