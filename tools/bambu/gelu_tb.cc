#include "test_bench.h"

extern "C" void gelu_stage(hls::stream<ap_uint<512> >& x, hls::stream<ap_uint<512> >& out);

int main() {
  TEST_STREAM(Word, x);
  TEST_STREAM(Word, out);
  Feed(x, kGeluInputs);
  gelu_stage(x, out);
  return Compare("gelu", out, kGeluOutputs, kElements);
}
