#pragma once

#include <string>

#include "common/status.h"
#include "model/config.h"

namespace phidias::cli {

// The value of --shape: a model's sizes without its weights.
struct Shape {
  PhiConfig config;       // vocab_size as the checkpoint's matrices have it
  std::string directory;  // of its file; empty: known by name
};

// "phi-2", "phi-1.5", "phi-1", or a config.json, or the directory that holds one.
Result<Shape> ReadShape(const std::string& name);

inline constexpr const char* kShapeHelp =
    "phi-2, phi-1.5, phi-1, or a config.json (or the directory\nthat holds one) with the numbers";

}  // namespace phidias::cli
