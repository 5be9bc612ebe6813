// What the loop model (hls/cycles.h) says of each kernel at Phi-2's shapes: one line "kernel cycles shape" each, for
// tools/vitis_check.sh.

#include <cinttypes>
#include <cstdio>

#include "hls/cycles.h"

int main() {
  using namespace phidias::hls;
  const auto print = [](const char* kernel, int64_t cycles, const char* shape) {
    std::printf("%s %" PRId64 " %s\n", kernel, cycles, shape);
  };
  print("linear_s8_b1w8", LinearCycles(kLinearB1W8, 10240, 2560), "fc1");
  print("linear_s8_b4w8", LinearCycles(kLinearB4W8, 10240, 2560), "fc1");
  print("linear_s8_b1w512", LinearCycles(kLinearB1W512, 10240, 2560), "fc1");
  print("linear_s8_b4w512", LinearCycles(kLinearB4W512, 10240, 2560), "fc1");
  print("lm_head_f16", LmHeadCycles(51200, 2560), "51200x2560");
  print("lm_head_bf16", LmHeadCycles(51200, 2560), "51200x2560");
  print("lm_head_f32", LmHeadCycles(51200, 2560), "51200x2560");
  print("attention", AttentionCycles(499, 32, 80, false), "position-499");
  print("attention_by_column", AttentionCycles(499, 32, 80, true), "position-499");
  print("layernorm", LayerNormCycles(2560), "2560");
  print("gelu", GeluCycles(10240), "10240");
  print("residual", ResidualCycles(2560), "2560");
}
