#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>

#include "engine/sampler.h"

namespace phidias::cli {

// llama.cpp's, where sampling is asked for without one.
inline constexpr float kDefaultTemperature = 0.8F;

// llama.cpp's sampling flags. `count` of an option tells whether it was given (as a flag or by its variable).
struct SamplingFlags {
  SamplingParams params;
  int64_t seed = -1;  // -1: random
  int64_t top_k = 40;
  int64_t repeat_last_n = 64;
  CLI::Option* temperature = nullptr;
  CLI::Option* others[4] = {};  // that make no sense without sampling: seed, top-k, top-p, min-p
};

void AddSamplingFlags(CLI::App& app, SamplingFlags* flags);

// The parameters that the flags mean: greedy unless --temp says otherwise, or one of the flags that only make sense
// with sampling was given, which then means llama.cpp's temperature 0.8. Draws a random seed where one is needed.
Result<SamplingParams> ResolveSampling(const SamplingFlags& flags);

}  // namespace phidias::cli
