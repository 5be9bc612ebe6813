#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "backend/fpga/packed_file.h"
#include "common/file.h"
#include "common/status.h"

namespace phidias::fpga {

struct PackOptions {
  const std::atomic<bool>* cancel = nullptr;
  // Bytes done, bytes in all; from the calling thread.
  std::function<void(int64_t done, int64_t total)> progress;
};

// Writes a packed model (packed_file.h): the header, then the segments' bytes in order, then their checksums. The file
// appears when it is complete.
class PackedWriter {
 public:
  static Result<PackedWriter> Create(const std::string& path, const PackedHeader& header, const PackOptions& options);

  // The next bytes of the segments, which lie one behind the other.
  Status Write(std::span<const std::byte> bytes);
  // All segments are written.
  Status Finish();

 private:
  PackedWriter(AtomicFile file, const PackedHeader& header, const PackOptions& options);

  AtomicFile file_;
  std::vector<Segment> segments_;
  PackOptions options_;
  int64_t total_ = 0;
  int64_t done_ = 0;
  size_t segment_ = 0;      // the one that is being written
  int64_t of_segment_ = 0;  // its bytes so far
  std::vector<std::byte> chunk_;
  std::vector<uint64_t> checksums_;
};

}  // namespace phidias::fpga
