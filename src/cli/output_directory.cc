#include "cli/output_directory.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "common/file.h"

namespace phidias::cli {

Status MakeDirectory(const std::string& path) {
  if (path.empty()) {
    return InvalidArgument("-o: the name of the directory is empty");
  }
  if (!IsDirectory(path) && mkdir(path.c_str(), 0777) != 0 && errno != EEXIST) {
    return IoError("-o ", Quoted(path), ": cannot make this directory: ", std::strerror(errno));
  }
  if (!IsDirectory(path)) {
    return IoError("-o ", Quoted(path), ": is a file; name a directory");
  }
  if (access(path.c_str(), W_OK) != 0) {
    return IoError("-o ", Quoted(path), ": this directory can't be written to");
  }
  return {};
}

}  // namespace phidias::cli
