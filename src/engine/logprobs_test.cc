// Scores of tokens, against a plain double computation.
#include "engine/logprobs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "numerics/random.h"

namespace phidias {
namespace {

using ::testing::ElementsAre;
using ::testing::FloatNear;
using ::testing::HasSubstr;
using ::testing::Pair;

// In double throughout, with the library's functions.
double PlainNll(std::span<const float> logits, int32_t target) {
  double max = -INFINITY;
  for (const float logit : logits) {
    max = std::max(max, static_cast<double>(logit));
  }
  double sum = 0;
  for (const float logit : logits) {
    sum += std::exp(static_cast<double>(logit) - max);
  }
  return max + std::log(sum) - static_cast<double>(logits[static_cast<size_t>(target)]);
}

TEST(NegativeLogLikelihood, IsThePlainDoubleOne) {
  for (const size_t vocab : {1U, 2U, 15U, 16U, 17U, 1000U, 51200U}) {
    std::vector<float> logits(vocab);
    for (size_t i = 0; i < vocab; ++i) {
      logits[i] = static_cast<float>(numerics::ScaleBits(numerics::RandomBits(7, vocab, i), 40000)) / 1000.0F - 20.0F;
    }
    const auto target = static_cast<int32_t>(vocab / 2);
    EXPECT_NEAR(NegativeLogLikelihood(logits, target), PlainNll(logits, target), 2e-7) << vocab;
  }
  // Far apart: the sum is 1 and the difference exact.
  EXPECT_EQ(NegativeLogLikelihood(std::vector<float>{300, -300}, 1), 600);
}

TEST(NegativeLogLikelihood, ShowsLogitsThatAreNoNumbers) {
  EXPECT_TRUE(std::isnan(NegativeLogLikelihood(std::vector<float>{1, NAN}, 0)));
  EXPECT_TRUE(std::isnan(NegativeLogLikelihood(std::vector<float>{1, INFINITY}, 0)));
  EXPECT_TRUE(std::isnan(NegativeLogLikelihood(std::vector<float>(3, NAN), 0)));
  EXPECT_TRUE(std::isnan(NegativeLogLikelihood(std::vector<float>(3, -INFINITY), 0)));
}

TEST(ScoreToken, NamesTheMostProbable) {
  const std::vector<float> logits = {0, 3, 1, 3, 2};
  const auto score = ScoreToken(logits, 2, 3, std::vector<int32_t>{});
  ASSERT_TRUE(score.ok());
  EXPECT_EQ(score->id, 2);
  EXPECT_NEAR(score->logprob, -PlainNll(logits, 2), 1e-6);
  EXPECT_THAT(score->top, ElementsAre(Pair(1, score->top[0].second), Pair(3, score->top[0].second),
                                      Pair(4, FloatNear(score->top[0].second - 1, 1e-6F))));
  const auto skipped = ScoreToken(logits, 2, 10, std::vector<int32_t>{1, 4});
  ASSERT_TRUE(skipped.ok());
  ASSERT_EQ(skipped->top.size(), 3U);
  EXPECT_EQ(skipped->top[0].first, 3);
  EXPECT_NEAR(skipped->top[0].second, -PlainNll(logits, 3), 1e-6) << "skipped ids still have their probability";
  EXPECT_TRUE(ScoreToken(logits, 2, 0, std::vector<int32_t>{})->top.empty());
}

TEST(ScoreToken, RefusesLogitsThatAreNoNumbers) {
  EXPECT_THAT(ScoreToken(std::vector<float>{1, NAN}, 0, 1, std::vector<int32_t>{}).status().message(),
              HasSubstr("not all finite"));
}

}  // namespace
}  // namespace phidias
