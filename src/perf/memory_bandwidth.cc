#include "perf/memory_bandwidth.h"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

#include "perf/memory_use.h"

namespace phidias {
namespace {

constexpr int64_t kHugePage = int64_t{2} << 20;
constexpr int64_t kLine = 64;
constexpr std::array kStreamCounts = {1, 2, 4, 8};

// Two 64-bit words of each line are enough to fetch it. Loads of 512 bits, with and without prefetching, were not
// faster (medians on two cores of a Zen 5: 53 GB/s with these, 51 and 44 with those).
uint64_t ReadLine(const std::byte* line) {
  uint64_t low = 0;
  uint64_t high = 0;
  std::memcpy(&low, line, sizeof low);
  std::memcpy(&high, line + kLine / 2, sizeof high);
  return low + high;
}

// [data, data + bytes) as kStreams parts that are walked together.
template <int kStreams>
uint64_t ReadStreams(const std::byte* data, int64_t bytes) {
  const int64_t part = bytes / kStreams / kLine * kLine;
  std::array<uint64_t, kStreams> sums{};
  for (int64_t at = 0; at < part; at += kLine) {
    for (int s = 0; s < kStreams; ++s) {
      sums[static_cast<size_t>(s)] += ReadLine(data + s * part + at);
    }
  }
  uint64_t sum = 0;
  for (const uint64_t value : sums) {
    sum += value;
  }
  for (int64_t at = part * kStreams; at + kLine <= bytes; at += kLine) {
    sum += ReadLine(data + at);
  }
  return sum;
}

uint64_t Read(int streams, const std::byte* data, int64_t bytes) {
  switch (streams) {
    case 1: return ReadStreams<1>(data, bytes);
    case 2: return ReadStreams<2>(data, bytes);
    case 4: return ReadStreams<4>(data, bytes);
    default: return ReadStreams<8>(data, bytes);
  }
}

}  // namespace

void MemoryBandwidth::Unmap::operator()(std::byte* data) const {
  munmap(data, size);
}

MemoryBandwidth::MemoryBandwidth(std::unique_ptr<std::byte, Unmap> data, int64_t bytes, int threads)
    : data_(std::move(data)), bytes_(bytes), pool_(std::make_unique<ThreadPool>(threads)) {}

Result<MemoryBandwidth> MemoryBandwidth::Create(int threads, int64_t bytes) {
  constexpr int64_t kMostBytes = int64_t{1} << 40;
  if (threads < 1 || bytes < kHugePage * threads || bytes > kMostBytes) {
    return InvalidArgument("memory bandwidth: ", bytes, " bytes read by ", threads, " threads; expected at least ",
                           HumanBytes(kHugePage), " each and at most ", HumanBytes(kMostBytes));
  }
  const int64_t unit = kHugePage * threads;
  const int64_t rounded = (bytes + unit - 1) / unit * unit;
  const auto size = static_cast<size_t>(rounded + kHugePage);
  void* const mapped = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) {
    return ResourceExhausted("memory bandwidth: no memory for a buffer of ", HumanBytes(static_cast<uint64_t>(size)),
                             ": ", std::strerror(errno));
  }
  // Everything before the first huge page goes back, so that what is used is what is counted.
  auto* const base = static_cast<std::byte*>(mapped);
  const auto lead = static_cast<size_t>(-reinterpret_cast<uintptr_t>(base) % kHugePage);
  if (lead > 0) {
    munmap(base, lead);
  }
  MemoryBandwidth out({base + lead, Unmap{size - lead}}, rounded, threads);
  madvise(out.data_.get(), size - lead, MADV_HUGEPAGE);
  const MemoryUse before = ReadMemoryUse();
  out.pool_->ParallelFor(rounded, kHugePage, [&](int64_t begin, int64_t end, int /*thread*/) {
    std::memset(out.data_.get() + begin, 0x5a, static_cast<size_t>(end - begin));
  });
  out.huge_pages_ = ReadMemoryUse().huge_pages - before.huge_pages > rounded / 2;
  out.ChooseStreams();
  return out;
}

// In turns, so that a disturbance hits all counts alike.
void MemoryBandwidth::ChooseStreams() {
  constexpr int kRounds = 4;
  double best = 0;
  for (int round = 0; round < kRounds; ++round) {
    for (const int streams : kStreamCounts) {
      const double rate = MeasureWith(streams, 1);
      if (rate > best) {
        best = rate;
        streams_ = streams;
      }
    }
  }
}

double MemoryBandwidth::Measure(int passes) {
  return MeasureWith(streams_, passes);
}

double MemoryBandwidth::MeasureWith(int streams, int passes) {
  using Clock = std::chrono::steady_clock;
  // Small enough that threads end together, large enough that the streams of one range lie far apart.
  const int64_t grain = std::max(kHugePage, bytes_ / pool_->size() / 16 / kHugePage * kHugePage);
  std::atomic<uint64_t> sum{0};
  const Clock::time_point start = Clock::now();
  for (int pass = 0; pass < passes; ++pass) {
    pool_->ParallelFor(bytes_, grain, [&](int64_t begin, int64_t end, int /*thread*/) {
      sum.fetch_add(Read(streams, data_.get() + begin, end - begin), std::memory_order_relaxed);
    });
  }
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  sum_ += sum;
  return seconds > 0 ? static_cast<double>(bytes_) * passes / seconds * 1e-9 : 0.0;
}

}  // namespace phidias
