#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <span>
#include <string>

#include "engine/loaded_model.h"

namespace phidias::cli {

// CLI11 with this program's habits: strict numbers (CLI11's own take "0x10" and "010"), the last of several values
// wins, and an environment variable per flag that stands in the help. Text is taken as it is, "" included.
//
// `env` may be null. A description may have several lines.

CLI::Option* AddInteger(CLI::App& app, const std::string& names, int64_t* out, int64_t low, int64_t high,
                        const char* env, const std::string& description);
CLI::Option* AddReal(CLI::App& app, const std::string& names, float* out, double low, double high, const char* env,
                     const std::string& description);
// Given twice is an error.
CLI::Option* AddText(CLI::App& app, const std::string& names, std::optional<std::string>* out,
                     const std::string& description);

// -t and --isa.
void AddCpuFlags(CLI::App& app, CpuOptions* cpu);
void AddLoadFlag(CLI::App& app, WeightLoad* load);

// --arith float|integer.
void AddArithmeticFlag(CLI::App& app, Arithmetic* arithmetic);

// Help in our layout: variables behind the description, examples at the end.
void SetHelp(CLI::App& app, const std::string& usage, const std::string& examples);

// nullopt: go on. Otherwise help was printed, or a usage error in one line, and this is the exit code.
std::optional<int> ParseArguments(CLI::App& app, const std::string& verb, std::span<const std::string> arguments);

}  // namespace phidias::cli
