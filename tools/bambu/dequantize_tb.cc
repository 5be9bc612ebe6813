#include "test_bench.h"

extern "C" void dequantize_stage(hls::stream<ap_uint<512> >& sums, hls::stream<ap_uint<512> >& constants,
                                 hls::stream<ap_uint<512> >& out);

int main() {
  TEST_STREAM(Word, sums);
  TEST_STREAM(Word, constants);
  TEST_STREAM(Word, out);
  Feed(sums, kSums);
  Feed(constants, kConstants);
  dequantize_stage(sums, constants, out);
  return Compare("dequantize", out, kOutputs, kRows);
}
