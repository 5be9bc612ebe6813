// softmax of one head, as a top for bambu.

#include "hls/attention_stages.h"
#include "values.h"

extern "C" void softmax_stage(hls::stream<float>& scores, hls::stream<float>& weights,
                              hls::stream<float>& inverse_sums) {
// clang-format off
#pragma HLS interface mode=axis port=scores
#pragma HLS interface mode=axis port=weights
#pragma HLS interface mode=axis port=inverse_sums
  // clang-format on
  phidias::hls::attention::Softmax(scores, kPositions - 1, 1, weights, inverse_sums);
}
