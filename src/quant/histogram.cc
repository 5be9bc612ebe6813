#include "quant/histogram.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "numerics/bits.h"

namespace phidias {
namespace {

constexpr int kBinBits = 12;
static_assert(Histogram::kBins == 1 << kBinBits);
// In OrderedBits; NaNs lie beyond.
constexpr int32_t kInfinity = 0x7f800000;
constexpr int32_t kMinusInfinity = ~kInfinity;

// Bits in an order that integers share with floats, so that the compiler may reduce them in any order.
int32_t OrderedBits(float value) {
  const auto bits = static_cast<int32_t>(numerics::BitsOf(value));
  return bits ^ ((bits >> 31) & 0x7fffffff);
}

// Minus zero becomes zero: the extremes must not depend on which of the two came first.
float FromOrderedBits(int32_t ordered) {
  return numerics::FloatOf(static_cast<uint32_t>(ordered ^ ((ordered >> 31) & 0x7fffffff))) + 0.0F;
}

// Exact for every exponent that a histogram has: a normal float.
float PowerOfTwo(int exponent) {
  return std::ldexp(1.0F, exponent);
}

}  // namespace

float Histogram::bin_width() const {
  return PowerOfTwo(exponent_);
}

void Histogram::Add(std::span<const float> values) {
  int32_t low = std::numeric_limits<int32_t>::max();
  int32_t high = std::numeric_limits<int32_t>::min();
  for (const float value : values) {
    const int32_t ordered = OrderedBits(value);
    low = ordered < low ? ordered : low;
    high = ordered > high ? ordered : high;
  }
  if (values.empty()) {
    return;
  }
  if (low > kMinusInfinity && high < kInfinity) {
    AddFinite(values, FromOrderedBits(low), FromOrderedBits(high));
    return;
  }
  std::vector<float> finite;
  for (const float value : values) {
    if (std::isfinite(value)) {
      finite.push_back(value);
    } else {
      ++not_finite_;
    }
  }
  Add(finite);
}

// `low` and `high` are the extremes of `values`, which are finite and not empty.
void Histogram::AddFinite(std::span<const float> values, float low, float high) {
  min_ = count_ == 0 ? low : std::min(min_, low);
  max_ = count_ == 0 ? high : std::max(max_, high);
  count_ += static_cast<int64_t>(values.size());
  counts_.resize(2 * kBins);
  if (absmax() > 0) {
    Widen(std::ilogb(absmax()) + 1 - kBinBits);
  }
  // In blocks: the bins of a block are found side by side; only the counting goes one by one.
  constexpr size_t kBlock = 256;
  int32_t bins[kBlock] = {};
  const float inverse_width = PowerOfTwo(-exponent_);
  for (size_t begin = 0; begin < values.size(); begin += kBlock) {
    const std::span<const float> block = values.subspan(begin, std::min(kBlock, values.size() - begin));
    for (size_t i = 0; i < block.size(); ++i) {
      bins[i] = static_cast<int32_t>(std::fabs(block[i]) * inverse_width) + (block[i] < 0 ? kBins : 0);
    }
    for (size_t i = 0; i < block.size(); ++i) {
      ++counts_[static_cast<size_t>(bins[i])];
    }
  }
}

void Histogram::Widen(int exponent) {
  if (exponent <= exponent_) {
    return;
  }
  const int shift = std::min(exponent - exponent_, kBinBits);
  exponent_ = exponent;
  if (counts_.empty()) {
    return;
  }
  for (const size_t side : {size_t{0}, size_t{kBins}}) {
    for (size_t i = 1; i < kBins; ++i) {
      const int64_t count = counts_[side + i];
      counts_[side + i] = 0;
      counts_[side + (i >> shift)] += count;
    }
  }
}

void Histogram::Merge(const Histogram& other) {
  not_finite_ += other.not_finite_;
  if (other.count_ == 0) {
    return;
  }
  min_ = count_ == 0 ? other.min_ : std::min(min_, other.min_);
  max_ = count_ == 0 ? other.max_ : std::max(max_, other.max_);
  count_ += other.count_;
  counts_.resize(2 * kBins);
  Widen(other.exponent_);
  const int shift = std::min(exponent_ - other.exponent_, kBinBits);
  for (const size_t side : {size_t{0}, size_t{kBins}}) {
    for (size_t i = 0; i < kBins; ++i) {
      counts_[side + (i >> shift)] += other.counts_[side + i];
    }
  }
}

float Histogram::Quantile(double p) const {
  if (count_ == 0 || p <= 0) {
    return min_;
  }
  if (p >= 1) {
    return max_;
  }
  const double target = p * static_cast<double>(count_);
  const double width = bin_width();
  double below = 0;
  double value = max_;
  bool found = false;
  ForEachBin([&](double centre, int64_t count) {
    const auto inside = static_cast<double>(count);
    if (!found && below + inside >= target) {
      value = centre + ((target - below) / inside - 0.5) * width;
      found = true;
    }
    below += inside;
  });
  return std::clamp(static_cast<float>(value), min_, max_);
}

void Histogram::Write(ByteWriter* out) const {
  out->Put(exponent_);
  out->Put(count_);
  out->Put(not_finite_);
  out->Put(min_);
  out->Put(max_);
  out->PutVector(counts_);
}

Result<Histogram> Histogram::Read(ByteReader* in) {
  Histogram h;
  h.exponent_ = in->Get<int32_t>();
  h.count_ = in->Get<int64_t>();
  h.not_finite_ = in->Get<int64_t>();
  h.min_ = in->Get<float>();
  h.max_ = in->Get<float>();
  h.counts_ = in->GetVector<int64_t>();
  const bool sized = h.counts_.size() == (h.count_ == 0 ? 0 : 2 * kBins);
  if (!in->ok() || !sized || h.exponent_ < kMinExponent || h.exponent_ > kMaxExponent || h.count_ < 0 ||
      h.not_finite_ < 0 || !(h.min_ <= h.max_)) {
    return DataError("a histogram is damaged");
  }
  return h;
}

}  // namespace phidias
