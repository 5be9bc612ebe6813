// gelu_new, as a top for bambu.

#include "hls/gelu_stages.h"
#include "values.h"

extern "C" void gelu_stage(hls::stream<ap_uint<512> >& x, hls::stream<ap_uint<512> >& out) {
// clang-format off
#pragma HLS interface mode=axis port=x
#pragma HLS interface mode=axis port=out
  // clang-format on
  phidias::hls::gelu::Activate(x, kElements, out);
}
