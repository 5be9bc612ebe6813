#pragma once

#include "numerics/bits.h"

namespace phidias {
namespace numerics {

// Every float reduction of the contract (matrix products, LayerNorm, Q K^T, the sum of a softmax) runs in kLanes
// interleaved partial sums: term k is added to lane k mod kLanes in increasing order of k, all lanes start at +0, and a
// last incomplete group is filled up with terms of +0. TreeSum then adds the lanes pairwise.
static constexpr int kLanes = 16;

// ((l0+l8)+(l4+l12)) + ..., that is: halves are folded onto each other, 16 -> 8 -> 4 -> 2 -> 1. One step is one vector
// operation at every width up to 512 bits.
PHIDIAS_INLINE float TreeSum(const float lanes[kLanes]) {
  float eight[8];
  float four[4];
  for (int i = 0; i < 8; ++i) {
    eight[i] = lanes[i] + lanes[i + 8];
  }
  for (int i = 0; i < 4; ++i) {
    four[i] = eight[i] + eight[i + 4];
  }
  const float even = four[0] + four[2];
  const float odd = four[1] + four[3];
  return even + odd;
}

}  // namespace numerics
}  // namespace phidias
