#include "test_bench.h"

extern "C" void tiled_requantize_stage(hls::stream<ap_uint<512> >& sums, hls::stream<ap_uint<512> >& factors,
                                       hls::stream<ap_uint<128> >& out);

int main() {
  TEST_STREAM(Word, sums);
  TEST_STREAM(Word, factors);
  TEST_STREAM(ap_uint<128>, out);
  Feed(sums, kTileSums);
  Feed(factors, kTileFactors);
  tiled_requantize_stage(sums, factors, out);
  return Compare("tiled_requantize", out, kTileOutputs, kTileGroups * 2 * 16);
}
