// LayerNorm, hls/kernels.h.
//
//   x -> Normalize <- constants
//            |
//   y <- WriteVector
//
// The row stays on chip and is passed over three times: mean, variance, output. The contract's 16 partial sums are also
// what lets one adder take an element every cycle: a sum rests 15 cycles between two additions.

#include "hls/kernels.h"
#include "hls/word.h"
#include "numerics/elementary.h"
#include "numerics/reduce.h"

namespace phidias {
namespace hls {
namespace {

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

void Normalize(Stream<Word>& in, Stream<Word>& constants, int32_t n, float eps, Stream<Word>& out) {
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

// Weights and biases, 16 at a time.
void ReadConstants(const Word* constants, int32_t n, Stream<Word>& out) {
  ReadMemory(constants, 2 * FloatWords(n), out);
}

void LayerNorm(const Word* x, const Word* constants, Word* y, int32_t n, float eps) {
#pragma HLS dataflow
  PHIDIAS_DATAFLOW;
  Stream<Word, kStageFifoDepth> inputs("inputs");
  Stream<Word, kStageFifoDepth> weights("weights");
  Stream<Word, kStageFifoDepth> outputs("outputs");
  PHIDIAS_STAGE(ReadVector(x, n, inputs));
  PHIDIAS_STAGE(ReadConstants(constants, n, weights));
  PHIDIAS_STAGE(Normalize(inputs, weights, n, eps, outputs));
  PHIDIAS_STAGE(WriteVector(outputs, n, y));
  PHIDIAS_RUN;
}

}  // namespace
}  // namespace hls
}  // namespace phidias

extern "C" void layernorm(const ap_uint<512>* x, const ap_uint<512>* constants, ap_uint<512>* y, int32_t n, float eps) {
// clang-format off
#pragma HLS interface mode=m_axi port=x bundle=gmem_x offset=slave max_read_burst_length=64 num_read_outstanding=4
#pragma HLS interface mode=m_axi port=constants bundle=gmem_c offset=slave max_read_burst_length=64 num_read_outstanding=4
#pragma HLS interface mode=m_axi port=y bundle=gmem_y offset=slave max_write_burst_length=64 num_write_outstanding=4
#pragma HLS interface mode=s_axilite port=return
  // clang-format on
  PHIDIAS_TOP("layernorm");
  phidias::hls::LayerNorm(x, constants, y, n, eps);
}
