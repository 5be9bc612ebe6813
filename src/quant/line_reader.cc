#include "quant/line_reader.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "common/file.h"

namespace phidias {
namespace {

constexpr size_t kChunk = size_t{1} << 16;

}  // namespace

Result<LineReader> LineReader::Open(const std::string& path) {
  if (IsDirectory(path)) {
    return NotFound(path, ": is a directory; the data is one file");
  }
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    const int error = errno;
    return Status(error == ENOENT || error == ENOTDIR ? StatusCode::kNotFound : StatusCode::kIoError,
                  StrCat(path, ": cannot open: ", std::strerror(error)));
  }
  return LineReader(path, fd);
}

LineReader::LineReader(LineReader&& other) noexcept
    : path_(std::move(other.path_)),
      fd_(other.fd_),
      buffer_(std::move(other.buffer_)),
      at_(other.at_),
      ended_(other.ended_),
      line_number_(other.line_number_) {
  other.fd_ = -1;
}

LineReader::~LineReader() {
  if (fd_ >= 0) {
    close(fd_);
  }
}

Status LineReader::Fill() {
  if (at_ == buffer_.size()) {
    buffer_.clear();
    at_ = 0;
  }
  if (!buffer_.empty() || ended_) {
    return {};
  }
  buffer_.resize(kChunk);
  size_t have = 0;
  // A whole chunk where there is one: a pipe gives less at a time, and Peek wants a good look.
  while (have < kChunk && !ended_) {
    const ssize_t got = read(fd_, buffer_.data() + have, kChunk - have);
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got < 0) {
      return IoError(path_, ": cannot read: ", std::strerror(errno));
    }
    ended_ = got == 0;
    have += static_cast<size_t>(got);
  }
  buffer_.resize(have);
  return {};
}

Result<std::string_view> LineReader::Peek(size_t bytes) {
  RETURN_IF_ERROR(Fill());
  return std::string_view(buffer_).substr(at_, bytes);
}

Result<bool> LineReader::Next(size_t max_bytes, std::string* line) {
  line->clear();
  bool any = false;
  while (true) {
    RETURN_IF_ERROR(Fill());
    if (buffer_.empty()) {
      break;
    }
    if (!any) {
      ++line_number_;
      any = true;
    }
    const size_t newline = buffer_.find('\n', at_);
    const size_t end = newline == std::string::npos ? buffer_.size() : newline;
    if (end - at_ > max_bytes - line->size()) {
      return ResourceExhausted(path_, ": line ", line_number_, " has more than ", HumanBytes(max_bytes),
                               "; a row may have that much");
    }
    line->append(buffer_, at_, end - at_);
    at_ = newline == std::string::npos ? end : end + 1;
    if (newline != std::string::npos) {
      break;
    }
  }
  if (line->ends_with('\r')) {
    line->pop_back();
  }
  return any;
}

Result<std::string> LineReader::Rest(size_t max_bytes) {
  std::string text;
  while (true) {
    RETURN_IF_ERROR(Fill());
    if (buffer_.empty()) {
      return text;
    }
    if (buffer_.size() - at_ > max_bytes - text.size()) {
      return ResourceExhausted(path_, ": more than the ", HumanBytes(max_bytes),
                               " that a plain text may have; cut it into smaller files");
    }
    text.append(buffer_, at_);
    at_ = buffer_.size();
  }
}

}  // namespace phidias
