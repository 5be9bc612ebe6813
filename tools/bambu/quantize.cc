// linear_s8: float inputs to int8, as a top for bambu.

#include "hls/linear_s8_stages.h"
#include "values.h"

extern "C" void quantize_stage(hls::stream<ap_uint<512> >& x, hls::stream<ap_uint<512> >& out) {
// clang-format off
#pragma HLS interface mode=axis port=x
#pragma HLS interface mode=axis port=out
  // clang-format on
  phidias::hls::linear_s8::Quantize<1>(x, kInputs, kInvScale, kZeroPoint, out);
}
