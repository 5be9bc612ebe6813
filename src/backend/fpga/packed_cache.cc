#include "backend/fpga/packed_cache.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "common/file.h"

namespace phidias::fpga {
namespace {

std::string Variable(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? "" : value;
}

Status MakeDirectories(const std::string& path) {
  for (size_t slash = path.find('/', 1); slash != std::string::npos; slash = path.find('/', slash + 1)) {
    mkdir(path.substr(0, slash).c_str(), 0777);  // what matters is whether the last one is there in the end
  }
  if (mkdir(path.c_str(), 0777) != 0 && !IsDirectory(path)) {
    return IoError(path, ": cannot make the cache's directory: ", std::strerror(errno),
                   "; set PHIDIAS_CACHE, or give a packed model with --packed FILE (phidias pack makes one)");
  }
  return {};
}

}  // namespace

Result<std::string> PackedCacheDirectory() {
  std::string path = Variable("PHIDIAS_CACHE");
  if (path.empty()) {
    const std::string cache = Variable("XDG_CACHE_HOME");
    const std::string home = Variable("HOME");
    if (cache.empty() && home.empty()) {
      return IoError(
          "no place for a cache: neither PHIDIAS_CACHE nor HOME is set; give a packed model with --packed "
          "FILE (phidias pack makes one)");
    }
    path = cache.empty() ? home + "/.cache/phidias" : cache + "/phidias";
  }
  RETURN_IF_ERROR(MakeDirectories(path));
  return path;
}

Result<std::string> CachedPackPath(uint64_t design_fingerprint, uint64_t model_fingerprint) {
  ASSIGN_OR_RETURN(const std::string directory, PackedCacheDirectory());
  char name[64];
  std::snprintf(name, sizeof name, "/%016llx-%016llx.packed", static_cast<unsigned long long>(model_fingerprint),
                static_cast<unsigned long long>(design_fingerprint));
  return directory + name;
}

}  // namespace phidias::fpga
