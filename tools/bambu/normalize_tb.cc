#include "test_bench.h"

extern "C" void normalize_stage(hls::stream<ap_uint<512> >& x, hls::stream<ap_uint<512> >& constants,
                                hls::stream<ap_uint<512> >& out);

int main() {
  TEST_STREAM(Word, x);
  TEST_STREAM(Word, constants);
  TEST_STREAM(Word, out);
  Feed(x, kGeluInputs);
  Feed(constants, kNormConstants);
  normalize_stage(x, constants, out);
  return Compare("normalize", out, kNormOutputs, kElements);
}
