#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "common/status.h"

namespace phidias::cpu {

// Anonymous memory for weights, in huge pages where the kernel has them (transparent ones, by madvise). Grows by large
// chunks of address space; only what is handed out and written takes memory. Freed as a whole.
class WeightMemory {
 public:
  WeightMemory() = default;
  ~WeightMemory();
  WeightMemory(const WeightMemory&) = delete;
  WeightMemory& operator=(const WeightMemory&) = delete;

  // `bytes` at an address divisible by 64. Error: no memory (with what was asked for and what is taken so far).
  Result<std::byte*> Allocate(int64_t bytes);

  int64_t bytes() const { return bytes_; }  // handed out

 private:
  struct Chunk {
    std::byte* data = nullptr;
    size_t size = 0;
  };
  Status AddChunk(size_t at_least);

  std::vector<Chunk> chunks_;
  size_t used_ = 0;  // of the last chunk
  int64_t bytes_ = 0;
};

}  // namespace phidias::cpu
