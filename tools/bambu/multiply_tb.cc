#include "test_bench.h"

extern "C" void multiply_stage(hls::stream<ap_uint<512> >& x, hls::stream<ap_uint<512> >& weights,
                               hls::stream<ap_uint<512> >& sums);

int main() {
  TEST_STREAM(Word, x);
  TEST_STREAM(Word, weights);
  TEST_STREAM(Word, sums);
  Feed(x, kQuantized);
  Feed(weights, kWeights);
  multiply_stage(x, weights, sums);
  return Compare("multiply", sums, kSums, kRows);
}
