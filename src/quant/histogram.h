#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "common/status.h"
#include "quant/byte_stream.h"

namespace phidias {

// Counts of values in bins of one width, 2^exponent, kBins on each side of zero. The exponent is the smallest that
// holds the largest magnitude seen; where it has to grow, pairs of bins are added together. floor(floor(x / w) / 2) is
// floor(x / 2w), so the counts are those of the final width from the start: they depend on the set of values alone, not
// on their order, and the counts of two histograms merge exactly. Fixed size: 64 kB.
class Histogram {
 public:
  static constexpr int kBins = 4096;  // the largest magnitude lies in the upper half of them

  void Add(std::span<const float> values);
  void Merge(const Histogram& other);

  int64_t count() const { return count_; }            // finite values
  int64_t not_finite() const { return not_finite_; }  // NaN and infinities: counted, not binned
  float min() const { return min_; }                  // exact; 0 where there are no values
  float max() const { return max_; }
  float absmax() const { return -min_ > max_ ? -min_ : max_; }
  float bin_width() const;

  // The value below which the share p (0..1) lies, linear inside a bin; exact for 0 and 1. 0 where there are no values.
  float Quantile(double p) const;

  // fn(centre of the bin, count) for every bin that isn't empty, from the lowest.
  template <class Fn>
  void ForEachBin(Fn fn) const {
    if (counts_.empty()) {
      return;
    }
    const double width = bin_width();
    for (int i = kBins - 1; i >= 0; --i) {
      if (counts_[kBins + i] != 0) {
        fn(-(i + 0.5) * width, counts_[kBins + i]);
      }
    }
    for (int i = 0; i < kBins; ++i) {
      if (counts_[i] != 0) {
        fn((i + 0.5) * width, counts_[i]);
      }
    }
  }

  void Write(ByteWriter* out) const;
  static Result<Histogram> Read(ByteReader* in);

  bool operator==(const Histogram&) const = default;

 private:
  static constexpr int kMinExponent = -100;  // keeps 1 / width finite
  static constexpr int kMaxExponent = 116;   // holds the largest float

  void Widen(int exponent);
  void AddFinite(std::span<const float> values, float low, float high);

  int32_t exponent_ = kMinExponent;
  int64_t count_ = 0;
  int64_t not_finite_ = 0;
  float min_ = 0;
  float max_ = 0;
  std::vector<int64_t> counts_;  // [2 * kBins]: magnitudes of values >= 0, then of negative ones; empty at first
};

}  // namespace phidias
