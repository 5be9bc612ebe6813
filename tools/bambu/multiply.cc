// linear_s8: one bank's multiply-accumulate, as a top for bambu.

#include "hls/linear_s8_stages.h"
#include "values.h"

extern "C" void multiply_stage(hls::stream<ap_uint<512> >& x, hls::stream<ap_uint<512> >& weights,
                               hls::stream<ap_uint<512> >& sums) {
// clang-format off
#pragma HLS interface mode=axis port=x
#pragma HLS interface mode=axis port=weights
#pragma HLS interface mode=axis port=sums
  // clang-format on
  phidias::hls::linear_s8::Multiply<1, 512, 2, 1>(x, weights, kRows, kInputs, sums);
}
