#include "engine/weight_load.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <vector>

#include "backend/cpu/weight_memory.h"
#include "common/str.h"

namespace phidias {
namespace {

constexpr uint64_t kSmall = uint64_t{256} << 20;    // copied without measuring: takes a moment
constexpr uint64_t kReserve = uint64_t{256} << 20;  // left for the KV cache, activations and others
constexpr size_t kSample = size_t{64} << 20;        // read to measure; twice a large L3 cache
constexpr size_t kWindow = size_t{4} << 20;         // of the sample, spread over the files
constexpr double kWorthCopying = 1.1;               // a copy must read this much faster
constexpr double kResident = 0.9;                   // of the sample, for a reading to mean anything

uint64_t TotalBytes(std::span<const std::shared_ptr<const MappedFile>> files) {
  uint64_t bytes = 0;
  for (const auto& file : files) {
    bytes += file->bytes().size();
  }
  return bytes;
}

// Places to read: windows at equal distances over all files.
std::vector<std::span<const std::byte>> Windows(std::span<const std::shared_ptr<const MappedFile>> files) {
  const uint64_t stride = std::max<uint64_t>(TotalBytes(files) / (kSample / kWindow), kWindow);
  std::vector<std::span<const std::byte>> windows;
  for (const auto& file : files) {
    const std::span<const std::byte> bytes = file->bytes();
    for (uint64_t at = 0; at + kWindow <= bytes.size(); at += stride) {
      windows.push_back(bytes.subspan(at, kWindow));
    }
  }
  return windows;
}

// The share of the windows' pages that are in memory already.
double ResidentShare(const std::vector<std::span<const std::byte>>& windows) {
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  size_t pages = 0;
  size_t resident = 0;
  for (const auto& window : windows) {
    const auto begin = reinterpret_cast<uintptr_t>(window.data()) & ~(page - 1);
    std::vector<unsigned char> flags(window.size() / page);
    if (mincore(reinterpret_cast<void*>(begin), flags.size() * page, flags.data()) != 0) {
      return 0;
    }
    pages += flags.size();
    resident += static_cast<size_t>(std::count_if(flags.begin(), flags.end(), [](unsigned char f) { return f & 1; }));
  }
  return pages == 0 ? 0 : static_cast<double>(resident) / static_cast<double>(pages);
}

uint64_t Read(std::span<const std::byte> bytes) {
  uint64_t sums[8] = {};
  for (size_t at = 0; at + sizeof sums <= bytes.size(); at += sizeof sums) {
    uint64_t words[8];
    std::memcpy(words, bytes.data() + at, sizeof words);
    for (size_t i = 0; i < 8; ++i) {
      sums[i] += words[i];
    }
  }
  return sums[0] + sums[1] + sums[2] + sums[3] + sums[4] + sums[5] + sums[6] + sums[7];
}

// Bytes per second, the better of two passes; a pass before them maps the pages.
double ReadRate(const std::vector<std::span<const std::byte>>& windows) {
  double best = 0;
  volatile uint64_t sink = 0;
  for (int pass = 0; pass < 3; ++pass) {
    size_t bytes = 0;
    const auto start = std::chrono::steady_clock::now();
    for (const auto& window : windows) {
      sink = sink + Read(window);
      bytes += window.size();
    }
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    best = pass == 0 ? 0 : std::max(best, static_cast<double>(bytes) / std::max(seconds, 1e-9));
  }
  return best;
}

// The rate of anonymous huge pages, or 0 without memory for the sample.
double HugePageRate() {
  cpu::WeightMemory memory;
  const Result<std::byte*> sample = memory.Allocate(static_cast<int64_t>(kSample));
  if (!sample.ok()) {
    return 0;
  }
  std::memset(*sample, 1, kSample);
  return ReadRate({std::span<const std::byte>(*sample, kSample)});
}

WeightLoadChoice Measure(std::span<const std::shared_ptr<const MappedFile>> files) {
  const auto windows = Windows(files);
  const double resident = ResidentShare(windows);
  if (resident < kResident) {
    return {WeightPlace::kCopied, StrCat("weights: copied into huge pages (--load auto: ",
                                         std::lround(100 * (1 - resident)), " % of the file come from the disk)")};
  }
  const double mapped = ReadRate(windows);
  const double huge = HugePageRate();
  const bool copy = huge > kWorthCopying * mapped;
  return {copy ? WeightPlace::kCopied : WeightPlace::kInFile,
          StrCat("weights: ", copy ? "copied into huge pages" : "used in the file",
                 " (--load auto: one thread reads the mapped file at ", std::lround(mapped * 1e-9),
                 " GB/s, huge pages at ", std::lround(huge * 1e-9), ")")};
}

}  // namespace

Result<WeightLoadChoice> ChooseWeightPlace(WeightLoad wanted, std::span<const std::shared_ptr<const MappedFile>> files,
                                           std::optional<uint64_t> available, bool has_int4) {
  const uint64_t bytes = TotalBytes(files);
  const bool fits = !available || bytes + kReserve <= *available;
  if (!fits && wanted == WeightLoad::kCopy) {
    return ResourceExhausted("--load copy: the weights take ", HumanBytes(bytes), ", ", HumanBytes(*available),
                             " of memory are available; --load mmap reads them from the file");
  }
  if (!fits && bytes > *available) {
    return WeightLoadChoice{
        WeightPlace::kInFile,
        StrCat("weights: used in the file; they take ", HumanBytes(bytes), " and ", HumanBytes(*available),
               " of memory are available, so every token reads from the disk and is slow (an int8 model is half the "
               "size of a 16-bit one: `phidias quantize`)")};
  }
  if (wanted != WeightLoad::kAuto) {
    return WeightLoadChoice{wanted == WeightLoad::kCopy ? WeightPlace::kCopied : WeightPlace::kInFile};
  }
  if (!fits) {
    return WeightLoadChoice{WeightPlace::kInFile,
                            StrCat("weights: used in the file (--load auto: no room for a copy of ", HumanBytes(bytes),
                                   " in ", HumanBytes(*available), " of memory)")};
  }
  if (has_int4 && bytes > kSmall) {  // packing costs more than any difference between the ways to read
    return WeightLoadChoice{WeightPlace::kCopied,
                            "weights: copied into huge pages (--load auto: 4-bit weights, packed once)"};
  }
  return bytes <= kSmall ? WeightLoadChoice{WeightPlace::kCopied} : Measure(files);
}

}  // namespace phidias
