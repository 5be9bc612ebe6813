// The two branches' sum onto the residual stream, hls/kernels.h.

#include "hls/kernels.h"
#include "hls/word.h"

namespace phidias {
namespace hls {
namespace {

// One element a cycle: two adders.
void Add(Stream<Word>& att_in, Stream<Word>& mlp_in, Stream<Word>& x_in, int32_t n, Stream<Word>& out) {
  const int32_t words = FloatWords(n);
WORDS:
  for (int32_t w = 0; w < words; ++w) {
    const Word att = att_in.read();
    const Word mlp = mlp_in.read();
    const Word x = x_in.read();
    Word y = 0;
  LANES:
    for (int i = 0; i < kWordFloats; ++i) {
      PHIDIAS_PIPELINE(1)
      SetFloat(&y, i, (FloatAt(att, i) + FloatAt(mlp, i)) + FloatAt(x, i));
    }
    out.write(y);
  }
}

// y may be x: a word is read well before it is written, and not again.
void Residual(const Word* att, const Word* mlp, const Word* x, Word* y, int32_t n) {
#pragma HLS dataflow
  PHIDIAS_DATAFLOW;
  Stream<Word, kStageFifoDepth> atts("atts");
  Stream<Word, kStageFifoDepth> mlps("mlps");
  Stream<Word, kStageFifoDepth> inputs("inputs");
  Stream<Word, kStageFifoDepth> outputs("outputs");
  PHIDIAS_STAGE(ReadVector(att, n, atts));
  PHIDIAS_STAGE(ReadVector(mlp, n, mlps));
  PHIDIAS_STAGE(ReadVector(x, n, inputs));
  PHIDIAS_STAGE(Add(atts, mlps, inputs, n, outputs));
  PHIDIAS_STAGE(WriteVector(outputs, n, y));
  PHIDIAS_RUN;
}

}  // namespace
}  // namespace hls
}  // namespace phidias

extern "C" void residual(const ap_uint<512>* att, const ap_uint<512>* mlp, const ap_uint<512>* x, ap_uint<512>* y,
                         int32_t n) {
// clang-format off
#pragma HLS interface mode=m_axi port=att bundle=gmem_a offset=slave max_read_burst_length=64 num_read_outstanding=4
#pragma HLS interface mode=m_axi port=mlp bundle=gmem_m offset=slave max_read_burst_length=64 num_read_outstanding=4
#pragma HLS interface mode=m_axi port=x bundle=gmem_x offset=slave max_read_burst_length=64 num_read_outstanding=4
#pragma HLS interface mode=m_axi port=y bundle=gmem_y offset=slave max_write_burst_length=64 num_write_outstanding=4
#pragma HLS interface mode=s_axilite port=return
  // clang-format on
  PHIDIAS_TOP("residual");
  phidias::hls::Residual(att, mlp, x, y, n);
}
