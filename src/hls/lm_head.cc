// The last linear layer, in float with 16-bit (or float) weights, hls/kernels.h.
//
//   x -> CopyToFour -> bank 0..3: Multiply <- ReadGroups(w0..w3)
//                                   |
//   logits <- WriteVector <- AddBias
//
// The contract's order gives every row 16 partial sums, each a chain of float additions. One such addition takes
// kFaddLatency cycles, so the 16 rows of a group take turns: a row's sums rest 15 cycles between two additions, and the
// pipeline takes 16 products every cycle.

#include "hls/kernels.h"
#include "hls/word.h"
#include "numerics/half.h"
#include "numerics/reduce.h"

namespace phidias {
namespace hls {
namespace {

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

template <class Weights, int kBank>
void ReadGroups(const Word* weights, int32_t n, int32_t k, Stream<Word>& out) {
  ReadMemory(weights, BankGroups<kBank>(n) * FloatWords(k) * (kGroupRows / Weights::kRowsPerBeat), out);
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
void AddBias(Stream<Word>& in0, Stream<Word>& in1, Stream<Word>& in2, Stream<Word>& in3, Stream<Word>& bias, int32_t n,
             Stream<Word>& out) {
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

template <class Weights>
void LmHead(const Word* w0, const Word* w1, const Word* w2, const Word* w3, const Word* bias, const Word* x,
            Word* logits, int32_t n, int32_t k) {
#pragma HLS dataflow
  PHIDIAS_DATAFLOW;
  Stream<Word, kStageFifoDepth> inputs("inputs");
  Stream<Word, kStageFifoDepth> x0("x0");
  Stream<Word, kStageFifoDepth> x1("x1");
  Stream<Word, kStageFifoDepth> x2("x2");
  Stream<Word, kStageFifoDepth> x3("x3");
  Stream<Word, kMemoryFifoDepth> weights0("weights0");
  Stream<Word, kMemoryFifoDepth> weights1("weights1");
  Stream<Word, kMemoryFifoDepth> weights2("weights2");
  Stream<Word, kMemoryFifoDepth> weights3("weights3");
  Stream<Word, kStageFifoDepth> sums0("sums0");
  Stream<Word, kStageFifoDepth> sums1("sums1");
  Stream<Word, kStageFifoDepth> sums2("sums2");
  Stream<Word, kStageFifoDepth> sums3("sums3");
  Stream<Word, kStageFifoDepth> biases("biases");
  Stream<Word, kStageFifoDepth> outputs("outputs");
  PHIDIAS_STAGE(ReadVector(x, k, inputs));
  PHIDIAS_STAGE(ReadGroups<Weights, 0>(w0, n, k, weights0));
  PHIDIAS_STAGE(ReadGroups<Weights, 1>(w1, n, k, weights1));
  PHIDIAS_STAGE(ReadGroups<Weights, 2>(w2, n, k, weights2));
  PHIDIAS_STAGE(ReadGroups<Weights, 3>(w3, n, k, weights3));
  PHIDIAS_STAGE(ReadVector(bias, n, biases));
  PHIDIAS_STAGE(CopyToFour(inputs, k, x0, x1, x2, x3));
  PHIDIAS_STAGE(Multiply<Weights, 0>(x0, weights0, n, k, sums0));
  PHIDIAS_STAGE(Multiply<Weights, 1>(x1, weights1, n, k, sums1));
  PHIDIAS_STAGE(Multiply<Weights, 2>(x2, weights2, n, k, sums2));
  PHIDIAS_STAGE(Multiply<Weights, 3>(x3, weights3, n, k, sums3));
  PHIDIAS_STAGE(AddBias(sums0, sums1, sums2, sums3, biases, n, outputs));
  PHIDIAS_STAGE(WriteVector(outputs, n, logits));
  PHIDIAS_RUN;
}

}  // namespace
}  // namespace hls
}  // namespace phidias

extern "C" void lm_head_f16(const ap_uint<512>* w0, const ap_uint<512>* w1, const ap_uint<512>* w2,
                            const ap_uint<512>* w3, const ap_uint<512>* bias, const ap_uint<512>* x,
                            ap_uint<512>* logits, int32_t n, int32_t k) {
// clang-format off
#pragma HLS interface mode=m_axi port=w0 bundle=gmem_w0 offset=slave max_read_burst_length=64 num_read_outstanding=16
#pragma HLS interface mode=m_axi port=w1 bundle=gmem_w1 offset=slave max_read_burst_length=64 num_read_outstanding=16
#pragma HLS interface mode=m_axi port=w2 bundle=gmem_w2 offset=slave max_read_burst_length=64 num_read_outstanding=16
#pragma HLS interface mode=m_axi port=w3 bundle=gmem_w3 offset=slave max_read_burst_length=64 num_read_outstanding=16
#pragma HLS interface mode=m_axi port=bias bundle=gmem_c offset=slave max_read_burst_length=64 num_read_outstanding=4
#pragma HLS interface mode=m_axi port=x bundle=gmem_x offset=slave max_read_burst_length=64 num_read_outstanding=4
#pragma HLS interface mode=m_axi port=logits bundle=gmem_y offset=slave max_write_burst_length=64 num_write_outstanding=4
#pragma HLS interface mode=s_axilite port=return
  // clang-format on
  PHIDIAS_TOP("lm_head_f16");
  phidias::hls::LmHead<phidias::hls::F16>(w0, w1, w2, w3, bias, x, logits, n, k);
}

extern "C" void lm_head_bf16(const ap_uint<512>* w0, const ap_uint<512>* w1, const ap_uint<512>* w2,
                             const ap_uint<512>* w3, const ap_uint<512>* bias, const ap_uint<512>* x,
                             ap_uint<512>* logits, int32_t n, int32_t k) {
// clang-format off
#pragma HLS interface mode=m_axi port=w0 bundle=gmem_w0 offset=slave max_read_burst_length=64 num_read_outstanding=16
#pragma HLS interface mode=m_axi port=w1 bundle=gmem_w1 offset=slave max_read_burst_length=64 num_read_outstanding=16
#pragma HLS interface mode=m_axi port=w2 bundle=gmem_w2 offset=slave max_read_burst_length=64 num_read_outstanding=16
#pragma HLS interface mode=m_axi port=w3 bundle=gmem_w3 offset=slave max_read_burst_length=64 num_read_outstanding=16
#pragma HLS interface mode=m_axi port=bias bundle=gmem_c offset=slave max_read_burst_length=64 num_read_outstanding=4
#pragma HLS interface mode=m_axi port=x bundle=gmem_x offset=slave max_read_burst_length=64 num_read_outstanding=4
#pragma HLS interface mode=m_axi port=logits bundle=gmem_y offset=slave max_write_burst_length=64 num_write_outstanding=4
#pragma HLS interface mode=s_axilite port=return
  // clang-format on
  PHIDIAS_TOP("lm_head_bf16");
  phidias::hls::LmHead<phidias::hls::Bf16>(w0, w1, w2, w3, bias, x, logits, n, k);
}

extern "C" void lm_head_f32(const ap_uint<512>* w0, const ap_uint<512>* w1, const ap_uint<512>* w2,
                            const ap_uint<512>* w3, const ap_uint<512>* bias, const ap_uint<512>* x,
                            ap_uint<512>* logits, int32_t n, int32_t k) {
// clang-format off
#pragma HLS interface mode=m_axi port=w0 bundle=gmem_w0 offset=slave max_read_burst_length=64 num_read_outstanding=16
#pragma HLS interface mode=m_axi port=w1 bundle=gmem_w1 offset=slave max_read_burst_length=64 num_read_outstanding=16
#pragma HLS interface mode=m_axi port=w2 bundle=gmem_w2 offset=slave max_read_burst_length=64 num_read_outstanding=16
#pragma HLS interface mode=m_axi port=w3 bundle=gmem_w3 offset=slave max_read_burst_length=64 num_read_outstanding=16
#pragma HLS interface mode=m_axi port=bias bundle=gmem_c offset=slave max_read_burst_length=64 num_read_outstanding=4
#pragma HLS interface mode=m_axi port=x bundle=gmem_x offset=slave max_read_burst_length=64 num_read_outstanding=4
#pragma HLS interface mode=m_axi port=logits bundle=gmem_y offset=slave max_write_burst_length=64 num_write_outstanding=4
#pragma HLS interface mode=s_axilite port=return
  // clang-format on
  PHIDIAS_TOP("lm_head_f32");
  phidias::hls::LmHead<phidias::hls::F32>(w0, w1, w2, w3, bias, x, logits, n, k);
}
