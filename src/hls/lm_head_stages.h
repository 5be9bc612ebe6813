#pragma once

#include "hls/word.h"
#include "numerics/half.h"
#include "numerics/reduce.h"

// The arithmetic of lm_head: streams in, streams out.
namespace phidias {
namespace hls {
namespace lm_head {

static_assert(kGroupRows >= kFaddLatency, "a partial sum must be ready when its row's turn comes again");
static_assert(kWordFloats == numerics::kLanes, "a word of x feeds each partial sum once");

// Weights as they are stored. Element i of the row at index `part` in a beat.
struct F16 {
  static constexpr int kRowsPerBeat = 2;
  static float Weight(const Word& beat, int part, int i) {
    return numerics::HalfToFloat(static_cast<uint16_t>(Field<16>(beat, part * kWordFloats + i)));
  }
};
struct Bf16 {
  static constexpr int kRowsPerBeat = 2;
  static float Weight(const Word& beat, int part, int i) {
    return numerics::Bfloat16ToFloat(static_cast<uint16_t>(Field<16>(beat, part * kWordFloats + i)));
  }
};
struct F32 {
  static constexpr int kRowsPerBeat = 1;
  static float Weight(const Word& beat, int /*part*/, int i) { return FloatAt(beat, i); }
};

// Groups of 16 rows that bank kBank holds.
template <int kBank>
PHIDIAS_INLINE int32_t BankGroups(int32_t n) {
  return (FloatWords(n) - kBank + kLmHeadBanks - 1) / kLmHeadBanks;
}

// One group: the 16 partial sums over k of each of its 16 rows, in `words` turns.
template <class Weights>
void MultiplyGroup(const float x[kMaxHidden / kWordFloats][kWordFloats], Stream<Word>& weights, int32_t words,
                   float sums[kGroupRows][numerics::kLanes]) {
CLEAR:
  for (int r = 0; r < kGroupRows; ++r) {
    PHIDIAS_PIPELINE(1)
  CLEAR_LANES:
    PHIDIAS_UNROLL_BEFORE
    for (int i = 0; i < numerics::kLanes; ++i) {
      PHIDIAS_UNROLL
      sums[r][i] = 0.0F;
    }
  }
  Word beat = 0;
TURNS:
  for (int32_t t = 0; t < words; ++t) {
  ROWS:
    for (int r = 0; r < kGroupRows; ++r) {
      PHIDIAS_PIPELINE(1)
      PHIDIAS_DISTANCE(sums, kGroupRows)
      const int part = r % Weights::kRowsPerBeat;
      if (part == 0) {
        beat = weights.read();
      }
    LANES:
      PHIDIAS_UNROLL_BEFORE
      for (int i = 0; i < numerics::kLanes; ++i) {
        PHIDIAS_UNROLL
        sums[r][i] += x[t][i] * Weights::Weight(beat, part, i);
      }
    }
  }
}

// One bank: its groups' sums over k, a word a group.
template <class Weights, int kBank>
void Multiply(Stream<Word>& x_in, Stream<Word>& weights, int32_t n, int32_t k, Stream<Word>& sums_out) {
  float x[kMaxHidden / kWordFloats][kWordFloats];
  PHIDIAS_PARTITION_LANES(x)
  const int32_t words = FloatWords(k);
LOAD:
  for (int32_t w = 0; w < words; ++w) {
    PHIDIAS_PIPELINE(1)
    const Word word = x_in.read();
  LOAD_LANES:
    PHIDIAS_UNROLL_BEFORE
    for (int i = 0; i < kWordFloats; ++i) {
      PHIDIAS_UNROLL
      // Elements past k meet weights of zero, but must not be what memory happens to hold there: infinity * 0 is NaN,
      // and a negative zero would be left in a sum that the contract fills up with +0.
      x[w][i] = w * kWordFloats + i < k ? FloatAt(word, i) : 0.0F;
    }
  }
  const int32_t groups = BankGroups<kBank>(n);
GROUPS:
  for (int32_t g = 0; g < groups; ++g) {
    float sums[kGroupRows][numerics::kLanes];
    PHIDIAS_PARTITION_LANES(sums)
    MultiplyGroup<Weights>(x, weights, words, sums);
    Word result = 0;
  FOLD:
    for (int r = 0; r < kGroupRows; ++r) {
      PHIDIAS_PIPELINE(4)  // four adders for the fifteen additions
      SetFloat(&result, r, numerics::TreeSum(sums[r]));
    }
    sums_out.write(result);
  }
}

// The banks' groups in turn, plus the bias.
inline void AddBias(Stream<Word>& in0, Stream<Word>& in1, Stream<Word>& in2, Stream<Word>& in3, Stream<Word>& bias,
                    int32_t n, Stream<Word>& out) {
  const int32_t words = FloatWords(n);
WORDS:
  for (int32_t w = 0; w < words; ++w) {
    Word sums = 0;
    const int bank = w % kLmHeadBanks;
    if (bank == 0) {
      sums = in0.read();
    } else if (bank == 1) {
      sums = in1.read();
    } else if (bank == 2) {
      sums = in2.read();
    } else {
      sums = in3.read();
    }
    const Word biases = bias.read();
    Word y = 0;
  LANES:
    for (int i = 0; i < kWordFloats; ++i) {
      PHIDIAS_PIPELINE(1)
      SetFloat(&y, i, FloatAt(sums, i) + FloatAt(biases, i));
    }
    out.write(y);
  }
}

}  // namespace lm_head
}  // namespace hls
}  // namespace phidias
