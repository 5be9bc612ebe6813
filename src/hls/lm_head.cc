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
#include "hls/lm_head_stages.h"
#include "hls/word.h"

namespace phidias {
namespace hls {
namespace lm_head {
namespace {

template <class Weights, int kBank>
void ReadGroups(const Word* weights, int32_t n, int32_t k, Stream<Word>& out) {
  ReadMemory(weights, BankGroups<kBank>(n) * FloatWords(k) * (kGroupRows / Weights::kRowsPerBeat), out);
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
}  // namespace lm_head
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
  phidias::hls::lm_head::LmHead<phidias::hls::lm_head::F16>(w0, w1, w2, w3, bias, x, logits, n, k);
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
  phidias::hls::lm_head::LmHead<phidias::hls::lm_head::Bf16>(w0, w1, w2, w3, bias, x, logits, n, k);
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
  phidias::hls::lm_head::LmHead<phidias::hls::lm_head::F32>(w0, w1, w2, w3, bias, x, logits, n, k);
}
