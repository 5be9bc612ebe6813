// linear_s8: sums to float outputs, as a top for bambu.

#include "hls/linear_s8_stages.h"
#include "values.h"

extern "C" void dequantize_stage(hls::stream<ap_uint<512> >& sums, hls::stream<ap_uint<512> >& constants,
                                 hls::stream<ap_uint<512> >& out) {
// clang-format off
#pragma HLS interface mode=axis port=sums
#pragma HLS interface mode=axis port=constants
#pragma HLS interface mode=axis port=out
  // clang-format on
  phidias::hls::linear_s8::Dequantize(sums, constants, kRows, kInputs, kScale, kZeroPoint, out);
}
