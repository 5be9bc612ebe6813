#include "test_bench.h"

extern "C" void tiled_multiply_stage(hls::stream<ap_uint<128> >& inputs, hls::stream<ap_uint<512> >& weights,
                                     hls::stream<ap_uint<512> >& sums);

// A word's four parts, one after the other.
template <size_t kCount>
void FeedParts(hls::stream<ap_uint<128> >& stream, const uint32_t (&values)[kCount]) {
  for (size_t i = 0; i < kCount; i += 4) {
    ap_uint<128> part = 0;
    for (int lane = 0; lane < 4; ++lane) {
      SetLane(&part, lane, values[i + static_cast<size_t>(lane)]);
    }
    stream.write(part);
  }
}

int main() {
  TEST_STREAM(ap_uint<128>, inputs);
  TEST_STREAM(Word, weights);
  TEST_STREAM(Word, sums);
  FeedParts(inputs, kTileInputs);
  Feed(weights, kTileWeights);
  tiled_multiply_stage(inputs, weights, sums);
  return Compare("tiled_multiply", sums, kTileSums, kTileGroups * 2 * 16);
}
