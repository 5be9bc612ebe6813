// The card's choice of a token, as a stage alone, against the host's sampler on the same logits: every filter, ties,
// bans, extremes.
#include "engine/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "hls/tiled_sampling_stages.h"
#include "numerics/fp_mode.h"
#include "tests/hls/tiled_test_util.h"

namespace phidias::hls::tiled {
namespace {

constexpr int32_t kVocab = 1000;

// What leaves the core: the best logits of all, best first.
std::vector<Word> BestOf(const std::vector<float>& logits) {
  const numerics::ScopedFlushToZero mode;  // as all that computes
  std::vector<Candidate> all;
  for (size_t id = 0; id < logits.size(); ++id) {
    all.push_back({logits[id], static_cast<int32_t>(id)});
  }
  all.resize(std::max<size_t>(all.size(), kCandidates), {0.0F, kNoCandidate});
  std::partial_sort(all.begin(), all.begin() + kCandidates, all.end(), Better);
  std::vector<Word> words;
  for (int w = 0; w < kCandidateWords; ++w) {
    Word word = 0;
    for (int i = 0; i < kCandidatesPerWord; ++i) {
      MoveIn(all[static_cast<size_t>(w * kCandidatesPerWord + i)], &word);
    }
    words.push_back(word);
  }
  return words;
}

int32_t OnCard(const std::vector<float>& logits, const Choice& choice, int32_t position) {
  Streams streams;
  Stream<Beat>& results = streams.Beats("results");
  for (const Word& word : BestOf(logits)) {
    results.write(BeatOf(word));
  }
  int32_t id = -1;
  streams.Run([&] { id = ChooseToken(results, choice, position); });
  return id;
}

void ExpectTheSamplers(const std::vector<float>& logits, const SamplingParams& params, int draws,
                       const std::vector<int32_t>& banned = {}) {
  Sampler sampler(params, banned, 7);
  Choice choice;
  std::copy(banned.begin(), banned.end(), choice.banned);
  choice.banned_count = static_cast<int32_t>(banned.size());
  choice.rule = RuleOf(params);
  choice.key = {params.seed, 7};
  for (int32_t position = 0; position < draws; ++position) {
    const Result<int32_t> want = sampler.Sample(logits, {}, position);
    ASSERT_TRUE(want.ok()) << want.status().message();
    ASSERT_EQ(OnCard(logits, choice, position), *want)
        << "top_k " << params.top_k << ", top_p " << params.top_p << ", min_p " << params.min_p << ", temperature "
        << params.temperature << ", position " << position;
  }
}

std::vector<float> RandomLogits(uint64_t seed, int32_t limit, float step) {
  std::vector<float> logits;
  for (uint64_t i = 0; i < kVocab; ++i) {
    logits.push_back(static_cast<float>(RandomInt(seed, i, limit)) * step);
  }
  return logits;
}

TEST(TiledSampling, EveryFilterIsTheHosts) {
  uint64_t seed = 0;
  for (const int32_t top_k : {1, 2, 40, 64}) {
    for (const float top_p : {1.0F, 0.95F, 0.5F, 1e-20F}) {
      for (const float min_p : {0.0F, 0.05F, 1.0F}) {
        for (const float temperature : {0.0F, 0.7F, 1.0F, 5.0F}) {
          const SamplingParams params = {.temperature = temperature,
                                         .top_k = top_k,
                                         .top_p = top_p,
                                         .min_p = min_p,
                                         .seed = ++seed * 0x123456789abcdef};
          ExpectTheSamplers(RandomLogits(seed, 8000, 1e-3F), params, 3);
        }
      }
    }
  }
}

TEST(TiledSampling, EqualLogitsGoById) {
  for (const float temperature : {0.0F, 1.0F}) {
    const SamplingParams params = {.temperature = temperature, .top_k = 30, .top_p = 1.0F, .min_p = 0.0F, .seed = 3};
    ExpectTheSamplers(RandomLogits(1, 2, 0.5F), params, 20);           // five values
    ExpectTheSamplers(std::vector<float>(kVocab, -1.0F), params, 20);  // one
  }
}

TEST(TiledSampling, BannedIdsTakePlacesOfTheCandidates) {
  const std::vector<float> logits = RandomLogits(5, 4000, 1e-3F);
  std::vector<int32_t> order(kVocab);
  for (int32_t id = 0; id < kVocab; ++id) {
    order[static_cast<size_t>(id)] = id;
  }
  std::sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    return Better({logits[static_cast<size_t>(a)], a}, {logits[static_cast<size_t>(b)], b});
  });
  for (const int32_t top_k : {1, 24}) {
    const SamplingParams params = {.temperature = 1.5F, .top_k = top_k, .top_p = 1.0F, .min_p = 0.0F, .seed = 9};
    const int32_t count = std::min<int32_t>(kCandidates - top_k, kMaxBanned);
    ExpectTheSamplers(logits, params, 20, {order.begin(), order.begin() + count});
    ExpectTheSamplers(logits, params, 20, {order.begin() + 1, order.begin() + 1 + count});
  }
}

TEST(TiledSampling, Extremes) {
  for (const float temperature : {1e-38F, 1e-6F, 100.0F}) {
    const SamplingParams params = {.temperature = temperature, .top_k = 64, .top_p = 0.999F, .min_p = 0.0F, .seed = 1};
    ExpectTheSamplers(RandomLogits(2, 1000, 3e35F), params, 5);   // differences overflow
    ExpectTheSamplers(RandomLogits(3, 1000, 1e-41F), params, 5);  // subnormal
    ExpectTheSamplers(RandomLogits(4, 1, 80.0F), params, 5);
    ExpectTheSamplers({2.0F, 1.0F, -3.0F}, params, 5);  // fewer logits than candidates
  }
  Choice choice = {};
  choice.banned_count = 2;
  choice.banned[0] = 1;
  EXPECT_EQ(OnCard({2.0F, 1.0F}, choice, 0), kNoCandidate);
}

}  // namespace
}  // namespace phidias::hls::tiled
