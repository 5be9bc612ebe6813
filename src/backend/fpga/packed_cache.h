#pragma once

#include <functional>
#include <string>

#include "backend/fpga/packed_file.h"
#include "common/status.h"
#include "common/thread_pool.h"

namespace phidias::fpga {

// Where a model that was packed without being asked is kept: PHIDIAS_CACHE, else XDG_CACHE_HOME/phidias, else
// ~/.cache/phidias; made if it isn't there. Error: it can't be, or there is no home.
Result<std::string> PackedCacheDirectory();

// The packed model that a back end needs.
struct PackedRequest {
  std::string design;                                   // its name
  PackedHeader header;                                  // that it has
  std::string path;                                     // the file, or "": the cache's
  std::function<Status(const std::string& path)> pack;  // makes it
  std::function<void(const std::string&)> notice;       // may be empty
};

// Opens it and verifies all of it. In the cache it is made where it isn't, or isn't whole.
Result<PackedFile> OpenPacked(const PackedRequest& request, ThreadPool* pool);

}  // namespace phidias::fpga
