// tiled: the MAC array with 4-bit weights, two groups of rows against two lanes, as a top for bambu.

#include "hls/tiled_linear_stages.h"
#include "values.h"

extern "C" void tiled_multiply_i4_stage(hls::stream<ap_uint<128> >& inputs, hls::stream<ap_uint<512> >& weights,
                                        hls::stream<ap_uint<512> >& sums) {
// clang-format off
#pragma HLS interface mode=axis port=inputs
#pragma HLS interface mode=axis port=weights
#pragma HLS interface mode=axis port=sums
  // clang-format on
  phidias::hls::tiled::Inputs x;
  phidias::hls::tiled::LoadInputs(inputs, kTileWords, 2, x);
  phidias::hls::tiled::MultiplyLinear(x, weights, kTileGroups, kTileWords, 2, true, sums);
}
