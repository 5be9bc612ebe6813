// The integer-only linear layer, hls/kernels.h: Read / Compute / Write.
//
//   x -> Quantize -> Deal -> bank 0..3: Multiply <- ReadMemory(w0..w3)
//                                        |
//   y <- WriteMemory <- Dequantize <- AddBanks        (one bank: neither Deal nor AddBanks)
//
// Every bank keeps its slice of the quantised input on chip and multiplies it with its slice of each row, as the rows
// come in from memory, in order, without a gap.

#include "hls/kernels.h"
#include "hls/linear_s8_stages.h"
#include "hls/word.h"

namespace phidias {
namespace hls {
namespace linear_s8 {
namespace {

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
}  // namespace linear_s8
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
  phidias::hls::linear_s8::LinearOneBank<8, kLinearB1W8.units_per_bank, kLinearB1W8.interval>(
      w0, constants, x, y, n, k, inv_scale, scale, zero_point);
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
  phidias::hls::linear_s8::LinearFourBanks<8, kLinearB4W8.units_per_bank, kLinearB4W8.interval>(
      w0, w1, w2, w3, constants, x, y, n, k, inv_scale, scale, zero_point);
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
  phidias::hls::linear_s8::LinearOneBank<512, kLinearB1W512.units_per_bank, kLinearB1W512.interval>(
      w0, constants, x, y, n, k, inv_scale, scale, zero_point);
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
  phidias::hls::linear_s8::LinearFourBanks<512, kLinearB4W512.units_per_bank, kLinearB4W512.interval>(
      w0, w1, w2, w3, constants, x, y, n, k, inv_scale, scale, zero_point);
}
