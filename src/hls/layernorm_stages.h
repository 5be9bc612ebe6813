#pragma once

#include "hls/word.h"
#include "numerics/elementary.h"
#include "numerics/reduce.h"

// The arithmetic of layernorm: streams in, streams out.
namespace phidias {
namespace hls {
namespace layernorm {

static_assert(numerics::kLanes >= kFaddLatency, "a partial sum must be ready when its turn comes again");
static_assert(kWordFloats == numerics::kLanes, "a word feeds each partial sum once");

// The sum of x - shift, or of its square, over n elements. Elements past n add +0, as the contract fills up the
// last 16.
template <bool kSquared>
float Sum(const float x[kMaxHidden], int32_t n, float shift) {
  float lanes[numerics::kLanes];
  PHIDIAS_PARTITION(lanes)
CLEAR:
  PHIDIAS_UNROLL_BEFORE
  for (int i = 0; i < numerics::kLanes; ++i) {
    PHIDIAS_UNROLL
    lanes[i] = 0.0F;
  }
  const int32_t words = FloatWords(n);
TURNS:
  for (int32_t t = 0; t < words; ++t) {
  LANES:
    for (int i = 0; i < numerics::kLanes; ++i) {
      PHIDIAS_PIPELINE(1)
      PHIDIAS_DISTANCE(lanes, numerics::kLanes)
      const float d = x[t * numerics::kLanes + i] - shift;
      const float term = kSquared ? d * d : d;
      lanes[i] += t * numerics::kLanes + i < n ? term : 0.0F;
    }
  }
  return numerics::TreeSum(lanes);
}

inline void Normalize(Stream<Word>& in, Stream<Word>& constants, int32_t n, float eps, Stream<Word>& out) {
  float x[kMaxHidden];
  const int32_t words = FloatWords(n);
LOAD:
  for (int32_t w = 0; w < words; ++w) {
    const Word word = in.read();
  LOAD_LANES:
    for (int i = 0; i < kWordFloats; ++i) {
      PHIDIAS_PIPELINE(1)
      x[w * kWordFloats + i] = FloatAt(word, i);
    }
  }
  const float count = static_cast<float>(n);
  const float mean = Sum<false>(x, n, 0.0F) / count;
  const float var = Sum<true>(x, n, mean) / count;
  const float inv_std = 1.0F / numerics::Sqrt(var + eps);
WORDS:
  for (int32_t w = 0; w < words; ++w) {
    const Word gamma = constants.read();
    const Word beta = constants.read();
    Word y = 0;
  LANES:
    for (int i = 0; i < kWordFloats; ++i) {
      PHIDIAS_PIPELINE(1)
      const float centred = x[w * kWordFloats + i] - mean;
      SetFloat(&y, i, (centred * inv_std) * FloatAt(gamma, i) + FloatAt(beta, i));
    }
    out.write(y);
  }
}

}  // namespace layernorm
}  // namespace hls
}  // namespace phidias
