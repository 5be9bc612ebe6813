// LayerNorm, hls/kernels.h.
//
//   x -> Normalize <- constants
//            |
//   y <- WriteVector
//
// The row stays on chip and is passed over three times: mean, variance, output. The contract's 16 partial sums are also
// what lets one adder take an element every cycle: a sum rests 15 cycles between two additions.

#include "hls/kernels.h"
#include "hls/layernorm_stages.h"
#include "hls/word.h"

namespace phidias {
namespace hls {
namespace layernorm {
namespace {

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
}  // namespace layernorm
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
  phidias::hls::layernorm::LayerNorm(x, constants, y, n, eps);
}
