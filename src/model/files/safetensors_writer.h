#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "common/dtype.h"
#include "common/file.h"
#include "common/status.h"

namespace phidias {

// A tensor to be written: the header needs all of these before the first byte of data.
struct SafetensorsEntry {
  std::string name;
  DType dtype = DType::kF32;  // any but kQ8_0
  std::vector<int64_t> shape;
};

// Stable order by element size, largest first. The format allows no padding between tensors, so this order is what
// keeps every tensor aligned to its elements; PyTorch's reader refuses tensors that aren't.
void SortForAlignment(std::vector<SafetensorsEntry>* entries);

// Writes a safetensors file through AtomicFile: nothing is at `path` until Finish() succeeds. The data begins at a
// multiple of 8.
//
//   ASSIGN_OR_RETURN(auto writer, SafetensorsWriter::Create(path, entries, {{"format", "pt"}}));
//   for each entry, in the order given: RETURN_IF_ERROR(writer.Append(bytes));   // in pieces of any size
//   RETURN_IF_ERROR(writer.Finish());
class SafetensorsWriter {
 public:
  // Errors, all naming the tensor: bad or duplicate name, a shape or dtype that can't be written, an order that leaves
  // a tensor unaligned (SortForAlignment helps), a header beyond the format's limit.
  static Result<SafetensorsWriter> Create(const std::string& path, const std::vector<SafetensorsEntry>& entries,
                                          const std::map<std::string, std::string>& metadata = {});

  // The next bytes of the data: little-endian elements, row-major. A piece may cross from one tensor to the next.
  Status Append(std::span<const std::byte> bytes);

  // Puts the file in its place, if all the data was appended.
  Status Finish();

  uint64_t data_bytes() const { return data_bytes_; }

 private:
  SafetensorsWriter(AtomicFile file, std::string path, uint64_t data_bytes)
      : file_(std::move(file)), path_(std::move(path)), data_bytes_(data_bytes) {}

  AtomicFile file_;
  std::string path_;
  uint64_t data_bytes_;  // that the header promises
  uint64_t appended_ = 0;
  bool failed_ = false;  // a piece may have been written in part: the file can't be finished
};

}  // namespace phidias
