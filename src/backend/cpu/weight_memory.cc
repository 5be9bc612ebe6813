#include "backend/cpu/weight_memory.h"

#include <sys/mman.h>

#include <algorithm>

#include "common/str.h"

namespace phidias::cpu {
namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kChunk = size_t{256} << 20;

size_t RoundUp(size_t value, size_t unit) {
  return (value + unit - 1) / unit * unit;
}

}  // namespace

WeightMemory::~WeightMemory() {
  for (const Chunk& chunk : chunks_) {
    munmap(chunk.data, chunk.size);
  }
}

// A huge page needs an address divisible by its size; the kernel doesn't promise one, so there is one more to cut from.
Status WeightMemory::AddChunk(size_t at_least) {
  const size_t size = RoundUp(std::max(at_least, kChunk), kHugePage);
  void* raw = mmap(nullptr, size + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (raw == MAP_FAILED) {
    return ResourceExhausted("no memory for a copy of the weights: ", HumanBytes(size), " more, beside ",
                             HumanBytes(static_cast<uint64_t>(bytes_)), " so far; --load mmap uses the file in place");
  }
  const auto begin = reinterpret_cast<uintptr_t>(raw);
  const uintptr_t aligned = RoundUp(begin, kHugePage);
  if (aligned != begin) {
    munmap(raw, aligned - begin);
  }
  const uintptr_t end = aligned + size;
  const uintptr_t raw_end = begin + size + kHugePage;
  if (raw_end != end) {
    munmap(reinterpret_cast<void*>(end), raw_end - end);
  }
  auto* data = reinterpret_cast<std::byte*>(aligned);
  madvise(data, size, MADV_HUGEPAGE);  // fails where the kernel has no huge pages: small ones do as well, only slower
  chunks_.push_back({data, size});
  used_ = 0;
  return {};
}

Result<std::byte*> WeightMemory::Allocate(int64_t bytes) {
  const size_t size = RoundUp(static_cast<size_t>(std::max<int64_t>(bytes, 1)), kAlignment);
  if (chunks_.empty() || chunks_.back().size - used_ < size) {
    RETURN_IF_ERROR(AddChunk(size));
  }
  std::byte* at = chunks_.back().data + used_;
  used_ += size;
  bytes_ += static_cast<int64_t>(size);
  return at;
}

}  // namespace phidias::cpu
