#pragma once

#include <cstdint>
#include <vector>

#include "numerics/rotary.h"

namespace phidias {

// cos and sin for every position and pair of a head's rotated part: [max_positions, rotary_dim / 2] each.
class RotaryTable {
 public:
  RotaryTable(int64_t max_positions, int64_t rotary_dim, double theta) : half_(rotary_dim / 2) {
    cos_.resize(static_cast<size_t>(max_positions * half_));
    sin_.resize(cos_.size());
    for (int64_t i = 0; i < half_; ++i) {
      const float inv_freq =
          numerics::RotaryInverseFrequency(static_cast<int32_t>(i), static_cast<int32_t>(rotary_dim), theta);
      for (int64_t pos = 0; pos < max_positions; ++pos) {
        const auto at = static_cast<size_t>(pos * half_ + i);
        numerics::RotaryEntry(static_cast<int32_t>(pos), inv_freq, &cos_[at], &sin_[at]);
      }
    }
  }

  const float* Cos(int64_t pos) const { return cos_.data() + pos * half_; }
  const float* Sin(int64_t pos) const { return sin_.data() + pos * half_; }

 private:
  int64_t half_;
  std::vector<float> cos_;
  std::vector<float> sin_;
};

}  // namespace phidias
