// gelu_new, hls/kernels.h.

#include "hls/gelu_stages.h"
#include "hls/kernels.h"
#include "hls/word.h"

namespace phidias {
namespace hls {
namespace gelu {
namespace {

void Gelu(const Word* x, Word* y, int32_t n) {
#pragma HLS dataflow
  PHIDIAS_DATAFLOW;
  Stream<Word, kStageFifoDepth> inputs("inputs");
  Stream<Word, kStageFifoDepth> outputs("outputs");
  PHIDIAS_STAGE(ReadVector(x, n, inputs));
  PHIDIAS_STAGE(Activate(inputs, n, outputs));
  PHIDIAS_STAGE(WriteVector(outputs, n, y));
  PHIDIAS_RUN;
}

}  // namespace
}  // namespace gelu
}  // namespace hls
}  // namespace phidias

extern "C" void gelu(const ap_uint<512>* x, ap_uint<512>* y, int32_t n) {
// clang-format off
#pragma HLS interface mode=m_axi port=x bundle=gmem_x offset=slave max_read_burst_length=64 num_read_outstanding=4
#pragma HLS interface mode=m_axi port=y bundle=gmem_y offset=slave max_write_burst_length=64 num_write_outstanding=4
#pragma HLS interface mode=s_axilite port=return
  // clang-format on
  PHIDIAS_TOP("gelu");
  phidias::hls::gelu::Gelu(x, y, n);
}
