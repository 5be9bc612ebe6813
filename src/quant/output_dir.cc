#include "quant/output_dir.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <utility>

namespace phidias {
namespace {

namespace fs = std::filesystem;

std::string WithoutSlashes(std::string path) {
  while (path.size() > 1 && path.back() == '/') {
    path.pop_back();
  }
  return path;
}

Status SystemError(const std::string& path, const char* what, int error) {
  return IoError(path, ": cannot ", what, ": ", std::strerror(error));
}

// Whether `source` is `dir` or lies in it.
bool Holds(const std::string& dir, const std::string& source) {
  std::error_code error;
  const fs::path outer = fs::weakly_canonical(dir, error);
  for (fs::path inner = fs::weakly_canonical(source, error); !inner.empty(); inner = inner.parent_path()) {
    if (inner == outer) {
      return true;
    }
    if (inner == inner.root_path()) {
      break;
    }
  }
  return false;
}

Status CheckReplaceable(const std::string& path) {
  std::error_code error;
  if (!fs::is_directory(path, error)) {
    return InvalidArgument(path, ": is there and isn't a directory; name another output");
  }
  bool config = false;
  bool empty = true;
  for (fs::directory_iterator it(path, error), end; !error && it != end; it.increment(error)) {
    empty = false;
    config = config || it->path().filename() == "config.json";
    if (!it->is_regular_file(error)) {
      return InvalidArgument(path, ": --force would delete ", Quoted(it->path().filename().string()),
                             " in it, which isn't a plain file; remove the directory yourself or name another output");
    }
  }
  if (error) {
    return IoError(path, ": cannot list: ", error.message());
  }
  if (!empty && !config) {
    return InvalidArgument(path,
                           ": holds files but no config.json, so it is no checkpoint and --force doesn't replace "
                           "it; remove the directory yourself or name another output");
  }
  return {};
}

void RemoveTree(const std::string& path) {
  std::error_code ignored;
  fs::remove_all(path, ignored);
}

void FlushDirectory(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd >= 0) {
    fsync(fd);  // a file system that can't is no reason to fail
    close(fd);
  }
}

}  // namespace

Result<OutputDir> OutputDir::Create(const std::string& path, bool force, const std::string& source) {
  const std::string target = WithoutSlashes(path);
  struct stat info = {};
  const bool exists = lstat(target.c_str(), &info) == 0;
  if (exists && Holds(target, source)) {
    return InvalidArgument(target, ": is or holds the model that is being read (", source, "); name another output");
  }
  if (exists && !force) {
    return InvalidArgument(target, ": exists already; use --force to replace it, or name another output");
  }
  if (exists) {
    RETURN_IF_ERROR(CheckReplaceable(target));
  }
  std::string temporary = target + ".tmp-XXXXXX";
  if (target.empty() || mkdtemp(temporary.data()) == nullptr) {
    return SystemError(target.empty() ? "\"\"" : target, "create the output directory", errno);
  }
  chmod(temporary.c_str(), 0755);
  return OutputDir(target, std::move(temporary));
}

OutputDir::OutputDir(OutputDir&& other) noexcept
    : path_(std::move(other.path_)), temporary_(std::exchange(other.temporary_, "")) {}

OutputDir::~OutputDir() {
  if (!temporary_.empty()) {
    RemoveTree(temporary_);
  }
}

Status OutputDir::Commit() {
  FlushDirectory(temporary_);
  // An existing target changes places with the new one in one step, where the file system can.
  if (renameat2(AT_FDCWD, temporary_.c_str(), AT_FDCWD, path_.c_str(), RENAME_NOREPLACE) == 0) {
    temporary_.clear();
  } else if (errno == EEXIST) {
    RETURN_IF_ERROR(CheckReplaceable(path_));
    if (renameat2(AT_FDCWD, temporary_.c_str(), AT_FDCWD, path_.c_str(), RENAME_EXCHANGE) != 0) {
      return SystemError(path_, "replace the output directory", errno);
    }
    RemoveTree(std::exchange(temporary_, ""));
  } else if (rename(temporary_.c_str(), path_.c_str()) == 0) {  // a file system without renameat2's flags
    temporary_.clear();
  } else {
    return SystemError(path_, "rename the output into place", errno);
  }
  const size_t slash = path_.rfind('/');
  FlushDirectory(slash == std::string::npos ? "." : path_.substr(0, slash + 1));
  return {};
}

}  // namespace phidias
