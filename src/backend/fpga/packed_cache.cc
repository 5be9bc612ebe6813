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

namespace {

// The file's path in the cache.
Result<std::string> CachedPackPath(const PackedHeader& header) {
  ASSIGN_OR_RETURN(const std::string directory, PackedCacheDirectory());
  char name[64];
  std::snprintf(name, sizeof name, "/%016llx-%016llx.packed", static_cast<unsigned long long>(header.model_fingerprint),
                static_cast<unsigned long long>(header.design_fingerprint));
  return directory + name;
}

Result<PackedFile> OpenVerified(const PackedRequest& request, const std::string& path, ThreadPool* pool) {
  ASSIGN_OR_RETURN(PackedFile packed, PackedFile::Open(path));
  RETURN_IF_ERROR(packed.CheckBelongs(request.header, request.design));
  RETURN_IF_ERROR(packed.VerifyChecksums(pool));
  return packed;
}

}  // namespace

Result<PackedFile> OpenPacked(const PackedRequest& request, ThreadPool* pool) {
  if (!request.path.empty()) {
    return OpenVerified(request, request.path, pool);
  }
  ASSIGN_OR_RETURN(const std::string path, CachedPackPath(request.header));
  Result<PackedFile> cached = OpenVerified(request, path, pool);
  if (cached.ok()) {
    return cached;
  }
  const auto note = [&request](const std::string& text) {
    if (request.notice) {
      request.notice(text);
    }
  };
  if (cached.status().code() != StatusCode::kNotFound) {
    note(cached.status().message());
  }
  note(StrCat("packing the model for design ", request.design, ", once, into ", path, " (",
              HumanBytes(request.header.FileBytes()), ")"));
  RETURN_IF_ERROR(request.pack(path));
  return OpenVerified(request, path, pool);
}

}  // namespace phidias::fpga
