#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "common/status.h"

namespace phidias {

// The whole file as a string. More than `max_bytes` is an error that names the limit.
Result<std::string> ReadFile(const std::string& path, size_t max_bytes);

bool IsDirectory(const std::string& path);
bool FileExists(const std::string& path);

// The text as a file, by way of AtomicFile.
Status WriteFile(const std::string& path, std::string_view text);

// Writes a file so that nobody ever sees half of it: the bytes go to a temporary file in the same directory, Commit()
// flushes and renames it. Without Commit() nothing is left behind.
class AtomicFile {
 public:
  static Result<AtomicFile> Create(const std::string& path);
  AtomicFile(AtomicFile&& other) noexcept;
  AtomicFile& operator=(AtomicFile&&) = delete;
  ~AtomicFile();

  Status Write(std::span<const std::byte> bytes);
  Status Write(std::string_view text) { return Write(std::as_bytes(std::span(text.data(), text.size()))); }
  Status Commit();

 private:
  AtomicFile(std::string path, std::string temporary, int fd)
      : path_(std::move(path)), temporary_(std::move(temporary)), fd_(fd) {}
  void Discard();

  std::string path_;
  std::string temporary_;
  int fd_;
};

}  // namespace phidias
