#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

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
// A flag whose text goes through `parse`; the last of several wins.
CLI::Option* AddParsedText(CLI::App& app, const std::string& names, const std::string& type,
                           const std::string& description, std::function<Status(const std::string&)> parse);

// A flag that may be repeated: `begin` is called once before the first value, `parse` for each.
CLI::Option* AddRepeated(CLI::App& app, const std::string& names, const std::string& type,
                         const std::string& description, std::function<void()> begin,
                         std::function<Status(const std::string&)> parse);
// The same with commas between values as well.
CLI::Option* AddList(CLI::App& app, const std::string& names, const std::string& type, const std::string& description,
                     std::function<void()> begin, std::function<Status(const std::string&)> parse);
// The same for whole numbers: what is given replaces what `out` holds.
CLI::Option* AddIntegerList(CLI::App& app, const std::string& names, std::vector<int64_t>* out, int64_t low,
                            int64_t high, const std::string& description);

// Given twice is an error.
CLI::Option* AddText(CLI::App& app, const std::string& names, std::optional<std::string>* out,
                     const std::string& description);

// -t alone.
void AddThreadsFlag(CLI::App& app, CpuOptions* cpu);
// -t, --cpu-list and --isa.
void AddCpuFlags(CLI::App& app, CpuOptions* cpu);
void AddLoadFlag(CLI::App& app, WeightLoad* load);

// --fast-float.
void AddFastFloatFlag(CLI::App& app, CpuOptions* cpu);

// --kv-cache f32|f16.
void AddKvCacheFlag(CLI::App& app, CpuOptions* cpu);

// The values of --arith and --load.
Result<Arithmetic> ParseArithmetic(const std::string& text);
Result<WeightLoad> ParseWeightLoad(const std::string& text);

// --arith float|integer.
void AddArithmeticFlag(CLI::App& app, Arithmetic* arithmetic);

// Help in our layout: variables behind the description, examples at the end.
void SetHelp(CLI::App& app, const std::string& usage, const std::string& examples);

// nullopt: go on. Otherwise help was printed, or a usage error in one line, and this is the exit code.
std::optional<int> ParseArguments(CLI::App& app, const std::string& verb, std::span<const std::string> arguments);

}  // namespace phidias::cli
