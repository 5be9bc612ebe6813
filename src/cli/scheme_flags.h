#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>
#include <vector>

#include "common/status.h"
#include "quant/scheme.h"

namespace phidias::cli {

// How to quantise: --recipe, and flags that change parts of it.
struct SchemeFlags {
  std::optional<std::string> recipe;
  std::optional<std::string> weights;
  std::optional<std::string> weights_bits;
  std::optional<std::string> group;
  std::optional<std::string> granularity;
  std::optional<std::string> activations;
  std::optional<std::string> smooth;
  std::optional<std::string> lm_head;
  std::optional<std::string> percentile;
  std::vector<std::string> skip;
  std::vector<std::string> eight_bits;
};

void AddSchemeFlags(CLI::App& app, SchemeFlags* flags);

// The recipe (without one best, or best4 for 4-bit weights) with the flags' changes; checked.
Result<QuantScheme> SchemeOf(const SchemeFlags& flags);

// Tokens whose activations calibration must keep whole for a scheme: for the search of smoothing factors.
int64_t SampleTokensFor(const QuantScheme& scheme);

}  // namespace phidias::cli
