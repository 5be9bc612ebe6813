#include "test_bench.h"

extern "C" void softmax_stage(hls::stream<float>& scores, hls::stream<float>& weights,
                              hls::stream<float>& inverse_sums);

int main() {
  TEST_STREAM(float, scores);
  TEST_STREAM(float, weights);
  TEST_STREAM(float, inverse_sums);
  for (int j = 0; j < kPositions; ++j) {
    float score = 0;
    memcpy(&score, &kScores[j], sizeof score);
    scores.write(score);
  }
  softmax_stage(scores, weights, inverse_sums);
  const float inverse_sum = inverse_sums.read();
  int mismatches = 0;
  for (int j = 0; j < kPositions; ++j) {
    const float probability = weights.read() * inverse_sum;
    mismatches += memcmp(&probability, &kProbabilities[j], sizeof probability) != 0 ? 1 : 0;
  }
  printf("softmax: %d of %d values differ from ref/\n", mismatches, static_cast<int>(kPositions));
  return mismatches == 0 ? 0 : 1;
}
