#pragma once

#include <memory>

#include "common/status.h"
#include "quant/ranks.h"

namespace phidias {

bool MpiIsBuiltIn();

// Joins the run that the launcher started. At most once in a process; only where MpiIsBuiltIn().
Result<std::unique_ptr<Ranks>> StartMpiRanks();

}  // namespace phidias
