#include "test_bench.h"

extern "C" void quantize_stage(hls::stream<ap_uint<512> >& x, hls::stream<ap_uint<512> >& out);

int main() {
  TEST_STREAM(Word, x);
  TEST_STREAM(Word, out);
  Feed(x, kX);
  quantize_stage(x, out);
  return Compare("quantize", out, kQuantized, static_cast<int>(sizeof kQuantized / 4));
}
