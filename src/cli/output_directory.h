#pragma once

#include <string>

#include "common/status.h"

namespace phidias::cli {

// Makes `path` a directory that can be written to, unless it is one. Its parent must exist.
Status MakeDirectory(const std::string& path);

}  // namespace phidias::cli
