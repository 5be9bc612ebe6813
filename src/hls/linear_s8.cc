// The integer-only linear layer, hls/kernels.h: Read / Compute / Write.
//
//   x -> Quantize -> Deal -> bank 0..3: Multiply <- ReadMemory(w0..w3)
//                                        |
//   y <- WriteMemory <- Dequantize <- AddBanks        (one bank: neither Deal nor AddBanks)
//
// Every bank keeps its slice of the quantised input on chip and multiplies it with its slice of each row, as the rows
// come in from memory, in order, without a gap.

#include "hls/kernels.h"
#include "hls/word.h"
#include "numerics/quantize.h"

namespace phidias {
namespace hls {
namespace {

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

// A bank's slices of all rows.
template <int kBanks, int kPortBits>
void ReadWeights(const typename WeightPort<kPortBits>::Beat* weights, int32_t n, int32_t k,
                 Stream<typename WeightPort<kPortBits>::Beat>& out) {
  ReadMemory(weights, n * SliceWords<kBanks>(k) * (kWordBits / kPortBits), out);
}

// Scales, biases and sums of 16 rows at a time.
void ReadConstants(const Word* constants, int32_t n, Stream<Word>& out) {
  ReadMemory(constants, 3 * FloatWords(n), out);
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
void Deal(Stream<Word>& in, int32_t k, Stream<Word>& out0, Stream<Word>& out1, Stream<Word>& out2, Stream<Word>& out3) {
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

void AddBanks(Stream<Word>& in0, Stream<Word>& in1, Stream<Word>& in2, Stream<Word>& in3, int32_t n,
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
void Dequantize(Stream<Word>& sums_in, Stream<Word>& constants, int32_t n, int32_t k, float scale, int32_t zero_point,
                Stream<Word>& out) {
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

template <int kPortBits, int kUnits, int kInterval>
void LinearOneBank(const typename WeightPort<kPortBits>::Beat* w0, const Word* constants, const Word* x, Word* y,
                   int32_t n, int32_t k, float inv_scale, float scale, int32_t zero_point) {
#pragma HLS dataflow
  PHIDIAS_DATAFLOW;
  Stream<Word, kStageFifoDepth> floats("floats");
  Stream<Word, kStageFifoDepth> x0("x0");
  Stream<typename WeightPort<kPortBits>::Beat, kMemoryFifoDepth * kWordBits / kPortBits> weights0("weights0");
  Stream<Word, kStageFifoDepth> sums0("sums0");
  Stream<Word, kStageFifoDepth> row_constants("row_constants");
  Stream<Word, kStageFifoDepth> outputs("outputs");
  PHIDIAS_STAGE(ReadVector(x, k, floats));
  PHIDIAS_STAGE(ReadWeights<1, kPortBits>(w0, n, k, weights0));
  PHIDIAS_STAGE(ReadConstants(constants, n, row_constants));
  PHIDIAS_STAGE(Quantize<1>(floats, k, inv_scale, zero_point, x0));
  PHIDIAS_STAGE(Multiply<1, kPortBits, kUnits, kInterval>(x0, weights0, n, k, sums0));
  PHIDIAS_STAGE(Dequantize(sums0, row_constants, n, k, scale, zero_point, outputs));
  PHIDIAS_STAGE(WriteVector(outputs, n, y));
  PHIDIAS_RUN;
}

template <int kPortBits, int kUnits, int kInterval>
void LinearFourBanks(const typename WeightPort<kPortBits>::Beat* w0, const typename WeightPort<kPortBits>::Beat* w1,
                     const typename WeightPort<kPortBits>::Beat* w2, const typename WeightPort<kPortBits>::Beat* w3,
                     const Word* constants, const Word* x, Word* y, int32_t n, int32_t k, float inv_scale, float scale,
                     int32_t zero_point) {
#pragma HLS dataflow
  PHIDIAS_DATAFLOW;
  Stream<Word, kStageFifoDepth> floats("floats");
  Stream<Word, kStageFifoDepth> quantized("quantized");
  Stream<Word, kStageFifoDepth> x0("x0");
  Stream<Word, kStageFifoDepth> x1("x1");
  Stream<Word, kStageFifoDepth> x2("x2");
  Stream<Word, kStageFifoDepth> x3("x3");
  Stream<typename WeightPort<kPortBits>::Beat, kMemoryFifoDepth * kWordBits / kPortBits> weights0("weights0");
  Stream<typename WeightPort<kPortBits>::Beat, kMemoryFifoDepth * kWordBits / kPortBits> weights1("weights1");
  Stream<typename WeightPort<kPortBits>::Beat, kMemoryFifoDepth * kWordBits / kPortBits> weights2("weights2");
  Stream<typename WeightPort<kPortBits>::Beat, kMemoryFifoDepth * kWordBits / kPortBits> weights3("weights3");
  Stream<Word, kStageFifoDepth> sums0("sums0");
  Stream<Word, kStageFifoDepth> sums1("sums1");
  Stream<Word, kStageFifoDepth> sums2("sums2");
  Stream<Word, kStageFifoDepth> sums3("sums3");
  Stream<Word, kStageFifoDepth> sums("sums");
  Stream<Word, kStageFifoDepth> row_constants("row_constants");
  Stream<Word, kStageFifoDepth> outputs("outputs");
  PHIDIAS_STAGE(ReadVector(x, k, floats));
  PHIDIAS_STAGE(ReadWeights<4, kPortBits>(w0, n, k, weights0));
  PHIDIAS_STAGE(ReadWeights<4, kPortBits>(w1, n, k, weights1));
  PHIDIAS_STAGE(ReadWeights<4, kPortBits>(w2, n, k, weights2));
  PHIDIAS_STAGE(ReadWeights<4, kPortBits>(w3, n, k, weights3));
  PHIDIAS_STAGE(ReadConstants(constants, n, row_constants));
  PHIDIAS_STAGE(Quantize<4>(floats, k, inv_scale, zero_point, quantized));
  PHIDIAS_STAGE(Deal(quantized, k, x0, x1, x2, x3));
  PHIDIAS_STAGE(Multiply<4, kPortBits, kUnits, kInterval>(x0, weights0, n, k, sums0));
  PHIDIAS_STAGE(Multiply<4, kPortBits, kUnits, kInterval>(x1, weights1, n, k, sums1));
  PHIDIAS_STAGE(Multiply<4, kPortBits, kUnits, kInterval>(x2, weights2, n, k, sums2));
  PHIDIAS_STAGE(Multiply<4, kPortBits, kUnits, kInterval>(x3, weights3, n, k, sums3));
  PHIDIAS_STAGE(AddBanks(sums0, sums1, sums2, sums3, n, sums));
  PHIDIAS_STAGE(Dequantize(sums, row_constants, n, k, scale, zero_point, outputs));
  PHIDIAS_STAGE(WriteVector(outputs, n, y));
  PHIDIAS_RUN;
}

}  // namespace
}  // namespace hls
}  // namespace phidias

using phidias::hls::kLinearB1W512;
using phidias::hls::kLinearB1W8;
using phidias::hls::kLinearB4W512;
using phidias::hls::kLinearB4W8;

extern "C" void linear_s8_b1w8(const int8_t* w0, const ap_uint<512>* constants, const ap_uint<512>* x, ap_uint<512>* y,
                               int32_t n, int32_t k, float inv_scale, float scale, int32_t zero_point) {
// clang-format off
#pragma HLS interface mode=m_axi port=w0 bundle=gmem_w0 offset=slave max_widen_bitwidth=8 max_read_burst_length=64 num_read_outstanding=16
#pragma HLS interface mode=m_axi port=constants bundle=gmem_c offset=slave max_read_burst_length=64 num_read_outstanding=4
#pragma HLS interface mode=m_axi port=x bundle=gmem_x offset=slave max_read_burst_length=64 num_read_outstanding=4
#pragma HLS interface mode=m_axi port=y bundle=gmem_y offset=slave max_write_burst_length=64 num_write_outstanding=4
#pragma HLS interface mode=s_axilite port=return
  // clang-format on
  PHIDIAS_TOP("linear_s8_b1w8");
  phidias::hls::LinearOneBank<8, kLinearB1W8.units_per_bank, kLinearB1W8.interval>(w0, constants, x, y, n, k, inv_scale,
                                                                                   scale, zero_point);
}

extern "C" void linear_s8_b4w8(const int8_t* w0, const int8_t* w1, const int8_t* w2, const int8_t* w3,
                               const ap_uint<512>* constants, const ap_uint<512>* x, ap_uint<512>* y, int32_t n,
                               int32_t k, float inv_scale, float scale, int32_t zero_point) {
// clang-format off
#pragma HLS interface mode=m_axi port=w0 bundle=gmem_w0 offset=slave max_widen_bitwidth=8 max_read_burst_length=64 num_read_outstanding=16
#pragma HLS interface mode=m_axi port=w1 bundle=gmem_w1 offset=slave max_widen_bitwidth=8 max_read_burst_length=64 num_read_outstanding=16
#pragma HLS interface mode=m_axi port=w2 bundle=gmem_w2 offset=slave max_widen_bitwidth=8 max_read_burst_length=64 num_read_outstanding=16
#pragma HLS interface mode=m_axi port=w3 bundle=gmem_w3 offset=slave max_widen_bitwidth=8 max_read_burst_length=64 num_read_outstanding=16
#pragma HLS interface mode=m_axi port=constants bundle=gmem_c offset=slave max_read_burst_length=64 num_read_outstanding=4
#pragma HLS interface mode=m_axi port=x bundle=gmem_x offset=slave max_read_burst_length=64 num_read_outstanding=4
#pragma HLS interface mode=m_axi port=y bundle=gmem_y offset=slave max_write_burst_length=64 num_write_outstanding=4
#pragma HLS interface mode=s_axilite port=return
  // clang-format on
  PHIDIAS_TOP("linear_s8_b4w8");
  phidias::hls::LinearFourBanks<8, kLinearB4W8.units_per_bank, kLinearB4W8.interval>(w0, w1, w2, w3, constants, x, y, n,
                                                                                     k, inv_scale, scale, zero_point);
}

extern "C" void linear_s8_b1w512(const ap_uint<512>* w0, const ap_uint<512>* constants, const ap_uint<512>* x,
                                 ap_uint<512>* y, int32_t n, int32_t k, float inv_scale, float scale,
                                 int32_t zero_point) {
// clang-format off
#pragma HLS interface mode=m_axi port=w0 bundle=gmem_w0 offset=slave max_read_burst_length=64 num_read_outstanding=16
#pragma HLS interface mode=m_axi port=constants bundle=gmem_c offset=slave max_read_burst_length=64 num_read_outstanding=4
#pragma HLS interface mode=m_axi port=x bundle=gmem_x offset=slave max_read_burst_length=64 num_read_outstanding=4
#pragma HLS interface mode=m_axi port=y bundle=gmem_y offset=slave max_write_burst_length=64 num_write_outstanding=4
#pragma HLS interface mode=s_axilite port=return
  // clang-format on
  PHIDIAS_TOP("linear_s8_b1w512");
  phidias::hls::LinearOneBank<512, kLinearB1W512.units_per_bank, kLinearB1W512.interval>(w0, constants, x, y, n, k,
                                                                                         inv_scale, scale, zero_point);
}

extern "C" void linear_s8_b4w512(const ap_uint<512>* w0, const ap_uint<512>* w1, const ap_uint<512>* w2,
                                 const ap_uint<512>* w3, const ap_uint<512>* constants, const ap_uint<512>* x,
                                 ap_uint<512>* y, int32_t n, int32_t k, float inv_scale, float scale,
                                 int32_t zero_point) {
// clang-format off
#pragma HLS interface mode=m_axi port=w0 bundle=gmem_w0 offset=slave max_read_burst_length=64 num_read_outstanding=16
#pragma HLS interface mode=m_axi port=w1 bundle=gmem_w1 offset=slave max_read_burst_length=64 num_read_outstanding=16
#pragma HLS interface mode=m_axi port=w2 bundle=gmem_w2 offset=slave max_read_burst_length=64 num_read_outstanding=16
#pragma HLS interface mode=m_axi port=w3 bundle=gmem_w3 offset=slave max_read_burst_length=64 num_read_outstanding=16
#pragma HLS interface mode=m_axi port=constants bundle=gmem_c offset=slave max_read_burst_length=64 num_read_outstanding=4
#pragma HLS interface mode=m_axi port=x bundle=gmem_x offset=slave max_read_burst_length=64 num_read_outstanding=4
#pragma HLS interface mode=m_axi port=y bundle=gmem_y offset=slave max_write_burst_length=64 num_write_outstanding=4
#pragma HLS interface mode=s_axilite port=return
  // clang-format on
  PHIDIAS_TOP("linear_s8_b4w512");
  phidias::hls::LinearFourBanks<512, kLinearB4W512.units_per_bank, kLinearB4W512.interval>(
      w0, w1, w2, w3, constants, x, y, n, k, inv_scale, scale, zero_point);
}
