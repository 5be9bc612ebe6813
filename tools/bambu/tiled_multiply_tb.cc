#include "test_bench.h"

extern "C" void tiled_multiply_stage(hls::stream<ap_uint<128> >& inputs, hls::stream<ap_uint<512> >& weights,
                                     hls::stream<ap_uint<512> >& sums);

int main() {
  TEST_STREAM(ap_uint<128>, inputs);
  TEST_STREAM(Word, weights);
  TEST_STREAM(Word, sums);
  FeedParts(inputs, kTileInputs);
  Feed(weights, kTileWeights);
  tiled_multiply_stage(inputs, weights, sums);
  return Compare("tiled_multiply", sums, kTileSums, kTileGroups * 2 * 16);
}
