#pragma once

#include <functional>
#include <string>

#include "common/status.h"
#include "quant/ranks.h"

namespace phidias::cli {

// Runs a verb's work as one rank of however many were started, and returns the exit code. A rank that fails says why
// and ends the whole run, so that no other rank waits for it.
int RunOnRanks(const std::string& verb, const std::function<Status(Ranks&)>& work);

}  // namespace phidias::cli
