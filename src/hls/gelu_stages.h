#pragma once

#include "hls/word.h"
#include "numerics/elementary.h"

// The arithmetic of gelu: streams in, streams out.
namespace phidias {
namespace hls {
namespace gelu {

// kGeluUnits elements a cycle.
inline void Activate(Stream<Word>& in, int32_t n, Stream<Word>& out) {
  const int32_t words = FloatWords(n);
WORDS:
  for (int32_t w = 0; w < words; ++w) {
    const Word x = in.read();
    Word y = 0;
  STEPS:
    for (int s = 0; s < kWordFloats / kGeluUnits; ++s) {
      PHIDIAS_PIPELINE(1)
    UNITS:
      PHIDIAS_UNROLL_BEFORE
      for (int u = 0; u < kGeluUnits; ++u) {
        PHIDIAS_UNROLL
        SetFloat(&y, s * kGeluUnits + u, numerics::GeluNew(FloatAt(x, s * kGeluUnits + u)));
      }
    }
    out.write(y);
  }
}

}  // namespace gelu
}  // namespace hls
}  // namespace phidias
