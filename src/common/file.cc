#include "common/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace phidias {
namespace {

Status SystemError(const std::string& path, const char* what, int error) {
  const StatusCode code = error == ENOENT || error == ENOTDIR ? StatusCode::kNotFound : StatusCode::kIoError;
  return {code, StrCat(path, ": cannot ", what, ": ", std::strerror(error))};
}

Status ReadAll(int fd, const std::string& path, size_t max_bytes, std::string* out) {
  char buffer[1 << 16];
  while (true) {
    const ssize_t got = read(fd, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got < 0) {
      return SystemError(path, "read", errno);
    }
    if (got == 0) {
      return {};
    }
    out->append(buffer, static_cast<size_t>(got));
    if (out->size() > max_bytes) {
      return ResourceExhausted(path, ": more than the ", HumanBytes(max_bytes), " that this kind of file may have");
    }
  }
}

}  // namespace

Result<std::string> ReadFile(const std::string& path, size_t max_bytes) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    return SystemError(path, "open", errno);
  }
  std::string text;
  Status status = ReadAll(fd, path, max_bytes, &text);
  close(fd);
  RETURN_IF_ERROR(status);
  return text;
}

bool IsDirectory(const std::string& path) {
  struct stat info = {};
  return stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

bool FileExists(const std::string& path) {
  struct stat info = {};
  return stat(path.c_str(), &info) == 0 && !S_ISDIR(info.st_mode);
}

Result<AtomicFile> AtomicFile::Create(const std::string& path) {
  std::string temporary = path + ".tmp-XXXXXX";
  const int fd = mkostemp(temporary.data(), O_CLOEXEC);
  if (fd < 0) {
    return SystemError(path, "create", errno);
  }
  fchmod(fd, 0644);
  return AtomicFile(path, std::move(temporary), fd);
}

AtomicFile::AtomicFile(AtomicFile&& other) noexcept
    : path_(std::move(other.path_)), temporary_(std::move(other.temporary_)), fd_(other.fd_) {
  other.fd_ = -1;
}

AtomicFile::~AtomicFile() {
  Discard();
}

void AtomicFile::Discard() {
  if (fd_ >= 0) {
    close(fd_);
    unlink(temporary_.c_str());
    fd_ = -1;
  }
}

Status AtomicFile::Write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t put = write(fd_, bytes.data(), bytes.size());
    if (put < 0 && errno == EINTR) {
      continue;
    }
    if (put < 0) {
      return SystemError(path_, "write", errno);
    }
    bytes = bytes.subspan(static_cast<size_t>(put));
  }
  return {};
}

Status AtomicFile::Commit() {
  if (fsync(fd_) != 0) {
    return SystemError(path_, "flush", errno);
  }
  if (rename(temporary_.c_str(), path_.c_str()) != 0) {
    return SystemError(path_, "rename into place", errno);
  }
  close(fd_);
  fd_ = -1;
  return {};
}

Status WriteFile(const std::string& path, std::string_view text) {
  ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path));
  RETURN_IF_ERROR(file.Write(text));
  return file.Commit();
}

}  // namespace phidias
