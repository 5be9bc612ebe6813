// The core of the design `tiled`, hls/tiled_kernels.h.

#include "hls/tiled_core_stages.h"
#include "hls/tiled_kernels.h"

extern "C" void tiled_core(hls::stream<TiledBeat>& tables_in, hls::stream<TiledBeat>& ring_in,
                           hls::stream<TiledBeat>& ring_out, hls::stream<TiledBeat>& results_out) {
// clang-format off
#pragma HLS interface mode=axis port=tables_in
#pragma HLS interface mode=axis port=ring_in
#pragma HLS interface mode=axis port=ring_out
#pragma HLS interface mode=axis port=results_out
#pragma HLS interface mode=ap_ctrl_none port=return
  // clang-format on
  PHIDIAS_TOP("tiled_core");
  phidias::hls::tiled::RunCore(tables_in, ring_in, ring_out, results_out);
}
