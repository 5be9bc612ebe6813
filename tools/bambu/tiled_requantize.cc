// tiled: sums of two groups and two lanes to their output grid, as a top for bambu.

#include "hls/tiled_linear_stages.h"
#include "values.h"

extern "C" void tiled_requantize_stage(hls::stream<ap_uint<512> >& sums, hls::stream<ap_uint<512> >& factors,
                                       hls::stream<ap_uint<128> >& out) {
// clang-format off
#pragma HLS interface mode=axis port=sums
#pragma HLS interface mode=axis port=factors
#pragma HLS interface mode=axis port=out
  // clang-format on
#ifdef __BAMBU__
  static hls::stream<int32_t> none;
#else
  static hls::stream<int32_t> none("none");
#endif
  phidias::hls::tiled::RequantizeLinear(sums, factors, kTileGroups, 2, phidias::hls::tiled::kRowsToRing, none, out);
}
