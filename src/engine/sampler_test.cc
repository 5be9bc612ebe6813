// The sampler against hand-made distributions: filters keep what their definitions say, draws follow the probabilities
// and depend on (seed, stream, position) alone.
#include "engine/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <set>

namespace phidias {
namespace {

using testing::HasSubstr;

// All filters off.
SamplingParams Plain(float temperature) {
  SamplingParams params;
  params.temperature = temperature;
  params.top_k = 0;
  params.top_p = 1.0F;
  params.min_p = 0.0F;
  return params;
}

std::vector<float> LogitsOf(const std::vector<double>& probabilities) {
  std::vector<float> out;
  for (const double p : probabilities) {
    out.push_back(static_cast<float>(std::log(p)));
  }
  return out;
}

std::map<int32_t, int> Histogram(const SamplingParams& params, const std::vector<float>& logits, int draws,
                                 const std::vector<int32_t>& banned = {}) {
  Sampler sampler(params, banned);
  std::map<int32_t, int> counts;
  for (int i = 0; i < draws; ++i) {
    const Result<int32_t> id = sampler.Sample(logits, {}, i);
    EXPECT_TRUE(id.ok());
    ++counts[*id];
  }
  return counts;
}

TEST(Sampler, GreedyTakesTheLargestAndTheFirstOfEquals) {
  Sampler sampler(Plain(0), {});
  EXPECT_EQ(*sampler.Sample(std::vector<float>{1, 5, 5, 2}, {}, 0), 1);
  Sampler banned(Plain(0), {1, 2, 77});
  EXPECT_EQ(*banned.Sample(std::vector<float>{1, 5, 5, 2}, {}, 0), 3);
}

TEST(Sampler, DrawsFollowTheProbabilities) {
  const auto counts = Histogram(Plain(1), LogitsOf({0.5, 0.3, 0.15, 0.05}), 20000);
  // Five standard deviations of a binomial.
  for (const auto& [id, p] : std::map<int32_t, double>{{0, 0.5}, {1, 0.3}, {2, 0.15}, {3, 0.05}}) {
    EXPECT_NEAR(counts.at(id), 20000 * p, 5 * std::sqrt(20000 * p * (1 - p))) << id;
  }
}

TEST(Sampler, TemperatureSharpens) {
  // At temperature 1/2 probabilities are squared: 0.64/(0.64 + 0.04).
  const auto counts = Histogram(Plain(0.5F), LogitsOf({0.8, 0.2}), 20000);
  const double p = 0.64 / 0.68;
  EXPECT_NEAR(counts.at(0), 20000 * p, 5 * std::sqrt(20000 * p * (1 - p)));
}

TEST(Sampler, SameSeedSameDrawsOtherSeedOthers) {
  const std::vector<float> logits(100, 0.0F);
  SamplingParams params = Plain(1);
  params.seed = 42;
  Sampler a(params, {});
  Sampler b(params, {});
  Sampler other_stream(params, {}, 1);
  params.seed = 43;
  Sampler other_seed(params, {});
  int differ_seed = 0;
  int differ_stream = 0;
  for (int i = 0; i < 50; ++i) {
    // Asking out of order gives the same: no state.
    const int32_t id = *a.Sample(logits, {}, 49 - i);
    EXPECT_EQ(id, *b.Sample(logits, {}, 49 - i));
    differ_seed += id != *other_seed.Sample(logits, {}, 49 - i) ? 1 : 0;
    differ_stream += id != *other_stream.Sample(logits, {}, 49 - i) ? 1 : 0;
  }
  EXPECT_GT(differ_seed, 40);
  EXPECT_GT(differ_stream, 40);
}

// Fixed draws: another machine, compiler or library must not change the text that a seed gives.
TEST(Sampler, KnownDraws) {
  std::vector<float> logits;
  for (int i = 0; i < 64; ++i) {
    logits.push_back(0.1F * static_cast<float>(i % 17));
  }
  SamplingParams params;
  params.temperature = 0.8F;
  params.seed = 1234;
  Sampler sampler(params, {});
  std::vector<int32_t> ids;
  for (int i = 0; i < 8; ++i) {
    ids.push_back(*sampler.Sample(logits, {}, i));
  }
  EXPECT_THAT(ids, testing::ElementsAre(60, 31, 59, 44, 28, 27, 26, 50));
}

TEST(Sampler, TopKKeepsTheBest) {
  SamplingParams params = Plain(1);
  params.top_k = 2;
  const auto counts = Histogram(params, LogitsOf({0.1, 0.4, 0.2, 0.3}), 2000);
  EXPECT_EQ(counts.size(), 2U);
  EXPECT_TRUE(counts.contains(1) && counts.contains(3));
}

TEST(Sampler, TopPKeepsTheShortestPrefixThatHoldsEnough) {
  SamplingParams params = Plain(1);
  params.top_p = 0.65F;
  const auto counts = Histogram(params, LogitsOf({0.1, 0.4, 0.2, 0.3}), 4000);
  EXPECT_EQ(counts.size(), 2U);  // 0.4 + 0.3 >= 0.65
  params.top_p = 1e-6F;
  EXPECT_EQ(Histogram(params, LogitsOf({0.1, 0.4, 0.2, 0.3}), 100).size(), 1U);  // never empty
}

TEST(Sampler, MinPKeepsWhatIsNotMuchWorseThanTheBest) {
  SamplingParams params = Plain(1);
  params.min_p = 0.45F;
  EXPECT_EQ(Histogram(params, LogitsOf({0.1, 0.4, 0.2, 0.3}), 4000).size(), 3U);
  params.min_p = 1.0F;
  EXPECT_EQ(Histogram(params, LogitsOf({0.1, 0.4, 0.2, 0.3}), 100).size(), 1U);
}

TEST(Sampler, PenaltiesLowerWhatWasSaid) {
  SamplingParams params = Plain(0);
  const std::vector<float> logits = {2.0F, 1.9F, -1.0F};
  const std::vector<int32_t> history = {0, 0};
  params.repeat_penalty = 1.2F;
  EXPECT_EQ(*Sampler(params, {}).Sample(logits, history, 2), 1);
  params.repeat_penalty = 1.0F;
  params.presence_penalty = 0.2F;
  EXPECT_EQ(*Sampler(params, {}).Sample(logits, history, 2), 1);
  params.presence_penalty = 0.0F;
  params.frequency_penalty = 0.04F;  // 2.0 - 2 * 0.04 > 1.9
  EXPECT_EQ(*Sampler(params, {}).Sample(logits, history, 2), 0);
  params.frequency_penalty = 0.06F;
  EXPECT_EQ(*Sampler(params, {}).Sample(logits, history, 2), 1);
  params.repeat_last_n = 0;
  EXPECT_EQ(*Sampler(params, {}).Sample(logits, history, 2), 0);
  // A negative logit is multiplied, not divided.
  params = Plain(0);
  params.repeat_penalty = 3.0F;
  EXPECT_EQ(*Sampler(params, {}).Sample(std::vector<float>{-1.0F, -2.0F}, std::vector<int32_t>{0}, 1), 1);
}

TEST(Sampler, BannedIdsAreNeverDrawn) {
  const auto counts = Histogram(Plain(5), LogitsOf({0.9, 0.05, 0.05}), 500, {0});
  EXPECT_FALSE(counts.contains(0));
  Sampler all(Plain(1), {0, 1});
  EXPECT_THAT(all.Sample(std::vector<float>{1, 2}, {}, 0).status().message(), HasSubstr("no token may be sampled"));
}

TEST(Sampler, BrokenLogitsAreAnError) {
  for (const float broken : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
    Sampler sampler(Plain(1), {});
    const Result<int32_t> id = sampler.Sample(std::vector<float>{1, broken}, {}, 7);
    ASSERT_FALSE(id.ok());
    EXPECT_EQ(id.status().code(), StatusCode::kDataError);
    EXPECT_THAT(id.status().message(), HasSubstr("position 7"));
  }
}

TEST(Sampler, ValidationNamesTheField) {
  const auto message = [](auto set) {
    SamplingParams params;
    set(params);
    return ValidateSampling(params).message();
  };
  EXPECT_EQ(message([](SamplingParams&) {}), "");
  EXPECT_THAT(message([](SamplingParams& p) { p.temperature = -1; }), HasSubstr("temperature is -1"));
  EXPECT_THAT(message([](SamplingParams& p) { p.temperature = std::nanf(""); }), HasSubstr("temperature"));
  EXPECT_THAT(message([](SamplingParams& p) { p.top_p = 0; }), HasSubstr("top_p is 0: must be in (0, 1]"));
  EXPECT_THAT(message([](SamplingParams& p) { p.top_k = -1; }), HasSubstr("top_k"));
  EXPECT_THAT(message([](SamplingParams& p) { p.min_p = 1.5F; }), HasSubstr("min_p"));
  EXPECT_THAT(message([](SamplingParams& p) { p.repeat_penalty = 0; }), HasSubstr("repeat_penalty"));
  EXPECT_THAT(message([](SamplingParams& p) { p.repeat_last_n = -2; }), HasSubstr("repeat_last_n"));
}

}  // namespace
}  // namespace phidias
