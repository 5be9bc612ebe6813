#pragma once

#include "hls/word.h"
#include "numerics/quantize.h"

// The arithmetic of linear_s8: streams in, streams out.
namespace phidias {
namespace hls {
namespace linear_s8 {

// What one beat of a weight port holds.
template <int kPortBits>
struct WeightPort;
template <>
struct WeightPort<512> {
  using Beat = Word;
  static constexpr int kWeights = kWordBytes;
  static int8_t Weight(const Beat& beat, int i) { return ByteAt(beat, i); }
};
template <>
struct WeightPort<8> {
  using Beat = int8_t;
  static constexpr int kWeights = 1;
  static int8_t Weight(const Beat& beat, int /*i*/) { return beat; }
};

// Words of a bank's slice of a row.
template <int kBanks>
PHIDIAS_INLINE int32_t SliceWords(int32_t k) {
  return (k + kBanks * kWordBytes - 1) / (kBanks * kWordBytes);
}

// k floats to int8, 64 a word, all banks' slices one after the other; zeros past the end. One element a cycle.
template <int kBanks>
void Quantize(Stream<Word>& x, int32_t k, float inv_scale, int32_t zero_point, Stream<Word>& out) {
  const int32_t words = kBanks * SliceWords<kBanks>(k);
  const float zero = static_cast<float>(zero_point);
WORDS:
  for (int32_t w = 0; w < words; ++w) {
    Word result = 0;
    Word floats = 0;
  BYTES:
    for (int i = 0; i < kWordBytes; ++i) {
      PHIDIAS_PIPELINE(1)
      const int32_t at = w * kWordBytes + i;
      if (at < k) {
        if (i % kWordFloats == 0) {
          floats = x.read();
        }
        const int32_t q = numerics::QuantizeS8(FloatAt(floats, i % kWordFloats), inv_scale, zero);
        SetByte(&result, i, static_cast<int8_t>(q));
      }
    }
    out.write(result);
  }
}

// The first slice to out0, the next to out1, and so on.
inline void Deal(Stream<Word>& in, int32_t k, Stream<Word>& out0, Stream<Word>& out1, Stream<Word>& out2,
                 Stream<Word>& out3) {
  const int32_t words = SliceWords<4>(k);
DEAL:
  for (int32_t i = 0; i < 4 * words; ++i) {
    PHIDIAS_PIPELINE(1)
    const Word word = in.read();
    if (i < words) {
      out0.write(word);
    } else if (i < 2 * words) {
      out1.write(word);
    } else if (i < 3 * words) {
      out2.write(word);
    } else {
      out3.write(word);
    }
  }
}

// One bank: n sums over its slice, 16 to a word (the last filled up with zeros). One step is kUnits products, a new
// step every kInterval cycles; the integer sums have no order, so a unit adds to its own partial sum.
template <int kBanks, int kPortBits, int kUnits, int kInterval>
void Multiply(Stream<Word>& x_in, Stream<typename WeightPort<kPortBits>::Beat>& w_in, int32_t n, int32_t k,
              Stream<Word>& sums_out) {
  using Port = WeightPort<kPortBits>;
  constexpr int kSteps = Port::kWeights / kUnits;
  static_assert(kSteps * kUnits == Port::kWeights, "a beat is a whole number of steps");
  const int32_t slice_words = SliceWords<kBanks>(k);
  // What each unit meets: of every beat, the kSteps weights from u * kSteps on.
  int8_t x[kUnits][kMaxInputs / kBanks / kUnits];
  PHIDIAS_PARTITION_ROWS(x)
LOAD:
  for (int32_t i = 0; i < slice_words; ++i) {
    const Word word = x_in.read();
  LOAD_BYTES:
    for (int j = 0; j < kWordBytes; ++j) {
      PHIDIAS_PIPELINE(1)
      const int32_t at = i * kWordBytes + j;
      const int32_t within = at % Port::kWeights;
      x[within / kSteps][at / Port::kWeights * kSteps + within % kSteps] = ByteAt(word, j);
    }
  }

  const int32_t beats = slice_words * (kWordBytes / Port::kWeights);
  Word sums = 0;
ROWS:
  for (int32_t row = 0; row < n; ++row) {
    int32_t partial[kUnits];
    PHIDIAS_PARTITION(partial)
  CLEAR:
    PHIDIAS_UNROLL_BEFORE
    for (int u = 0; u < kUnits; ++u) {
      PHIDIAS_UNROLL
      partial[u] = 0;
    }
    typename Port::Beat beat = 0;
  BEATS:
    for (int32_t b = 0; b < beats; ++b) {
    STEPS:
      PHIDIAS_SIM_UNROLL
      for (int s = 0; s < kSteps; ++s) {
        PHIDIAS_PIPELINE(kInterval)
        if (s == 0) {
          beat = w_in.read();
        }
      UNITS:
        PHIDIAS_UNROLL_BEFORE
        PHIDIAS_SIM_UNROLL
        for (int u = 0; u < kUnits; ++u) {
          PHIDIAS_UNROLL
          partial[u] +=
              static_cast<int32_t>(Port::Weight(beat, u * kSteps + s)) * static_cast<int32_t>(x[u][b * kSteps + s]);
        }
      }
    }
    int32_t sum = 0;
  FOLD:
    PHIDIAS_UNROLL_BEFORE
    for (int u = 0; u < kUnits; ++u) {
      PHIDIAS_UNROLL
      sum += partial[u];
    }
    SetInt(&sums, row % kGroupRows, sum);
    if (row % kGroupRows == kGroupRows - 1 || row == n - 1) {
      sums_out.write(sums);
      sums = 0;
    }
  }
}

inline void AddBanks(Stream<Word>& in0, Stream<Word>& in1, Stream<Word>& in2, Stream<Word>& in3, int32_t n,
                     Stream<Word>& out) {
  const int32_t words = FloatWords(n);
WORDS:
  for (int32_t w = 0; w < words; ++w) {
    PHIDIAS_PIPELINE(1)
    const Word a = in0.read();
    const Word b = in1.read();
    const Word c = in2.read();
    const Word d = in3.read();
    Word sums = 0;
  LANES:
    PHIDIAS_UNROLL_BEFORE
    for (int i = 0; i < kWordFloats; ++i) {
      PHIDIAS_UNROLL
      SetInt(&sums, i, (IntAt(a, i) + IntAt(b, i)) + (IntAt(c, i) + IntAt(d, i)));
    }
    out.write(sums);
  }
}

// Takes the input's zero point out and puts the scales in, one row a cycle.
inline void Dequantize(Stream<Word>& sums_in, Stream<Word>& constants, int32_t n, int32_t k, float scale,
                       int32_t zero_point, Stream<Word>& out) {
  const int32_t words = FloatWords(n);
WORDS:
  for (int32_t w = 0; w < words; ++w) {
    const Word sums = sums_in.read();
    const Word scales = constants.read();
    const Word biases = constants.read();
    const Word row_sums = constants.read();
    Word y = 0;
  LANES:
    for (int i = 0; i < kWordFloats; ++i) {
      PHIDIAS_PIPELINE(1)
      const int32_t acc = numerics::FoldZeroPoints(IntAt(sums, i), zero_point, IntAt(row_sums, i), 0, 0, k);
      SetFloat(&y, i, numerics::DequantizeAcc(acc, scale, FloatAt(scales, i), FloatAt(biases, i)));
    }
    out.write(y);
  }
}

}  // namespace linear_s8
}  // namespace hls
}  // namespace phidias
