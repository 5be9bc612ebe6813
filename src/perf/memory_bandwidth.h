#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "common/status.h"
#include "common/thread_pool.h"

namespace phidias {

// How fast this machine reads memory: every thread walks a part of one large buffer in anonymous huge pages (where the
// system grants them), as several streams side by side, because one stream doesn't keep a core's line buffers full.
class MemoryBandwidth {
 public:
  // The buffer, filled. `bytes` should be many times the last-level cache. Errors: no memory, a size or number of
  // threads that can't be.
  static Result<MemoryBandwidth> Create(int threads, int64_t bytes);

  // Reads the whole buffer `passes` times with the number of streams that was fastest at Create. GB/s (10^9 bytes).
  double Measure(int passes = 1);

  int64_t bytes() const { return bytes_; }
  int streams() const { return streams_; }
  // Whether the system gave huge pages for (most of) the buffer.
  bool huge_pages() const { return huge_pages_; }

 private:
  struct Unmap {
    size_t size = 0;
    void operator()(std::byte* data) const;
  };
  MemoryBandwidth(std::unique_ptr<std::byte, Unmap> data, int64_t bytes, int threads);
  void ChooseStreams();
  double MeasureWith(int streams, int passes);

  std::unique_ptr<std::byte, Unmap> data_;
  int64_t bytes_;
  std::unique_ptr<ThreadPool> pool_;
  int streams_ = 1;
  bool huge_pages_ = false;
  uint64_t sum_ = 0;  // of all that was read, so that it has to be
};

}  // namespace phidias
