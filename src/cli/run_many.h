#pragma once

#include "cli/run_flags.h"
#include "common/status.h"

namespace phidias::cli {

// `phidias run --prompts`: continues every prompt of a file, several at a time, and writes a line of JSON for each to
// stdout, in the file's order and as soon as those before it are written. A prompt that fails has "error" in its line;
// the others go on, and the status is the first failure's.
Status RunMany(const RunFlags& flags);

}  // namespace phidias::cli
