#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "common/status.h"

namespace phidias {

// A regular file mapped read-only.
//
// A file can shrink while it is mapped; touching a page past its new end then raises SIGBUS. The first Open() installs
// a handler that, for an address inside one of our mappings, puts a page of zeros there and marks the mapping as
// broken, so the computation goes on (on zeros) in whatever thread it ran, and whoever uses the result asks Check()
// before showing it. Any other SIGBUS goes to the handler that was there before.
class MappedFile {
 public:
  // Errors: not found, not a regular file, not readable. An empty file maps to an empty span.
  static Result<std::shared_ptr<const MappedFile>> Open(const std::string& path);

  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::string& path() const { return path_; }

  // Data error naming the file if it shrank under the mapping.
  Status Check() const;

  // The caller has copied [begin, begin + bytes) and won't read it again soon: where it lies in a mapping of ours, its
  // whole pages leave this process and the page cache (as far as nobody else uses them). Reading them later still
  // works, from the disk. Does nothing for other memory.
  static void Release(const std::byte* begin, size_t bytes);

 private:
  MappedFile(std::string path, const std::byte* data, size_t size, int slot)
      : path_(std::move(path)), data_(data), size_(size), slot_(slot) {}

  std::string path_;
  const std::byte* data_;
  size_t size_;
  int slot_;  // in the table that the signal handler reads; -1 for an empty file
};

}  // namespace phidias
