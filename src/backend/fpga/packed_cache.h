#pragma once

#include <cstdint>
#include <string>

#include "common/status.h"

namespace phidias::fpga {

// Where a model that was packed without being asked is kept: PHIDIAS_CACHE, else XDG_CACHE_HOME/phidias, else
// ~/.cache/phidias; made if it isn't there. Error: it can't be, or there is no home.
Result<std::string> PackedCacheDirectory();

// The file's path in the cache.
Result<std::string> CachedPackPath(uint64_t design_fingerprint, uint64_t model_fingerprint);

}  // namespace phidias::fpga
