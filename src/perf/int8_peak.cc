#include "perf/int8_peak.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>

namespace phidias {
namespace {

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

constexpr std::array kAll = {
#if defined(__x86_64__)
    &kInt8PeakAvx512Vnni,
    &kInt8PeakAvxVnni,
    &kInt8PeakAvx2,
#endif
    &kInt8PeakPortable,
};

// A loop over a few cache lines that the compiler may turn into the baseline's vectors.
int64_t RunPortable(int64_t rounds, uint32_t* sink) {
  constexpr size_t kLength = 256;
  static constexpr int kRows = 8;
  std::array<std::array<int8_t, kLength>, kRows> w{};
  std::array<int8_t, kLength> x{};
  for (size_t k = 0; k < kLength; ++k) {
    x[k] = static_cast<int8_t>(k * 7 + *sink);
    for (auto& row : w) {
      row[k] = static_cast<int8_t>(k * 3 + x[k]);
    }
  }
  for (int64_t round = 0; round < rounds; ++round) {
    for (auto& row : w) {
      int32_t sum = 0;
      for (size_t k = 0; k < kLength; ++k) {
        sum += static_cast<int32_t>(static_cast<int16_t>(x[k]) * static_cast<int16_t>(row[k]));
      }
      *sink += static_cast<uint32_t>(sum);
    }
    x[static_cast<size_t>(round) % kLength] = static_cast<int8_t>(*sink);
  }
  return rounds * kRows * static_cast<int64_t>(kLength);
}

}  // namespace

const Int8Peak kInt8PeakPortable = {
    .name = "portable", .isa = "portable", .supported = [] { return true; }, .run = RunPortable};

std::span<const Int8Peak* const> AllInt8Peaks() {
  return kAll;
}

const Int8Peak& Int8PeakFor(std::string_view isa) {
  const auto found = std::find_if(kAll.begin(), kAll.end(),
                                  [&](const Int8Peak* peak) { return peak->supported() && peak->isa == isa; });
  return found != kAll.end() ? **found : kInt8PeakPortable;
}

Int8PeakMeter::Int8PeakMeter(const Int8Peak& peak, int threads)
    : peak_(peak), pool_(std::make_unique<ThreadPool>(threads)) {
  uint32_t sink = 1;
  int64_t rounds = 1000;
  double seconds = 0;
  while (seconds < 1e-3) {
    const Clock::time_point start = Clock::now();
    peak_.run(rounds, &sink);
    seconds = SecondsSince(start);
    rounds_per_second_ = static_cast<double>(rounds) / std::max(seconds, 1e-9);
    rounds *= 4;
  }
}

double Int8PeakMeter::Measure(double seconds) {
  // Pieces of a tenth, handed to whoever is free: a thread that is disturbed does fewer.
  constexpr int64_t kPieces = 10;
  const auto rounds = std::max<int64_t>(1, static_cast<int64_t>(rounds_per_second_ * seconds / kPieces));
  std::atomic<int64_t> products{0};
  std::atomic<uint32_t> sink{1};
  const Clock::time_point start = Clock::now();
  pool_->ParallelFor(kPieces * pool_->size(), 1, [&](int64_t begin, int64_t end, int thread) {
    uint32_t mine = static_cast<uint32_t>(thread);
    for (int64_t i = begin; i < end; ++i) {
      products += peak_.run(rounds, &mine);
    }
    sink += mine;
  });
  return 2.0 * static_cast<double>(products) / std::max(SecondsSince(start), 1e-9) * 1e-9;
}

}  // namespace phidias
