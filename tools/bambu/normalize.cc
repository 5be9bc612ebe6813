// LayerNorm, as a top for bambu.

#include "hls/layernorm_stages.h"
#include "values.h"

extern "C" void normalize_stage(hls::stream<ap_uint<512> >& x, hls::stream<ap_uint<512> >& constants,
                                hls::stream<ap_uint<512> >& out) {
// clang-format off
#pragma HLS interface mode=axis port=x
#pragma HLS interface mode=axis port=constants
#pragma HLS interface mode=axis port=out
  // clang-format on
  phidias::hls::layernorm::Normalize(x, constants, kElements, kEps, out);
}
