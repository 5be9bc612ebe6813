#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "common/status.h"

namespace phidias {

// Reads a text file of any size line by line, in bounded memory. Pipes work too: nothing is read twice.
class LineReader {
 public:
  // Errors: not there, a directory, not readable.
  static Result<LineReader> Open(const std::string& path);

  LineReader(LineReader&& other) noexcept;
  LineReader& operator=(LineReader&&) = delete;
  ~LineReader();

  // The beginning of the file, at most `bytes` (up to 64 kB), without consuming it. Before the first line is read.
  Result<std::string_view> Peek(size_t bytes);

  // The next line without its end ("\n" or "\r\n"), or false at the end of the file. More than `max_bytes` is an error
  // that names the line.
  Result<bool> Next(size_t max_bytes, std::string* line);

  // All that is left. More than `max_bytes` is an error.
  Result<std::string> Rest(size_t max_bytes);

  int64_t line_number() const { return line_number_; }  // of the last line, from 1

 private:
  LineReader(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}
  // Makes buffer_ hold unread bytes unless the file has ended.
  Status Fill();

  std::string path_;
  int fd_;
  std::string buffer_;
  size_t at_ = 0;  // first unread byte of buffer_
  bool ended_ = false;
  int64_t line_number_ = 0;
};

}  // namespace phidias
