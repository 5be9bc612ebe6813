#pragma once

#include <string>

#include "backend/fingerprint.h"
#include "model/checkpoint.h"

namespace phidias {

// A model's configuration and samples of all its weights (whole small tensors, pieces of large ones): a few megabytes
// read, whatever its size.
std::string CheckpointFingerprint(const Checkpoint& checkpoint);

}  // namespace phidias
