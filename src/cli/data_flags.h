#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>

#include "common/status.h"
#include "model/config.h"
#include "quant/dataset.h"

namespace phidias::cli {

// A data file and which of its rows: --data, --samples, --max-tokens, --seed, --data-format.
struct DataFlags {
  std::optional<std::string> path;
  int64_t samples = 0;
  int64_t max_tokens = 512;
  int64_t seed = -1;  // -1: the first rows
  std::string format = "auto";
};

// --data is required.
void AddDataFlags(CLI::App& app, DataFlags* flags);

DataFormat FormatOf(const DataFlags& flags);
DatasetOptions OptionsOf(const DataFlags& flags);

// Rows as long as --max-tokens must fit the model's context.
Status CheckRowLength(const DataFlags& flags, const PhiConfig& config);

// What to tell about the rows that there are: fewer than asked for, left out. "" where there is nothing.
std::string DatasetNotes(const Dataset& dataset, int64_t samples);

}  // namespace phidias::cli
