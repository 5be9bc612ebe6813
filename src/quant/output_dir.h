#pragma once

#include <string>

#include "common/status.h"

namespace phidias {

// A directory that appears whole or not at all: files go to a temporary one beside it, Commit() renames. Without
// Commit() the temporary directory is removed with all that is in it.
class OutputDir {
 public:
  // `path` must not exist, unless `force`: then it is replaced by Commit(), if it is an empty directory or one that
  // holds a config.json and nothing but files (never anything that could be more than a checkpoint). It may not be, or
  // hold, the `source` that the output is made from.
  static Result<OutputDir> Create(const std::string& path, bool force, const std::string& source);
  OutputDir(OutputDir&& other) noexcept;
  OutputDir& operator=(OutputDir&&) = delete;
  ~OutputDir();

  const std::string& temporary() const { return temporary_; }
  std::string File(const std::string& name) const { return temporary_ + "/" + name; }
  Status Commit();

 private:
  OutputDir(std::string path, std::string temporary) : path_(std::move(path)), temporary_(std::move(temporary)) {}

  std::string path_;
  std::string temporary_;  // empty: nothing to remove
};

}  // namespace phidias
