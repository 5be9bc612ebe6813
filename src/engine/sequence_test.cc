// One sequence with made-up logits: which rows it asks for, which tokens it takes from them, and where guesses end. No
// model is needed: the logits say what the test wants said.
#include "engine/sequence.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "model/tokenizer/tokenizer_test_util.h"

namespace phidias {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Ids = std::vector<int32_t>;

constexpr int64_t kVocab = 256;
constexpr int32_t kEos = 1;

class NoStore final : public KvStore {
 public:
  explicit NoStore(int64_t capacity) : capacity_(capacity) {}
  int64_t capacity() const override { return capacity_; }
  int64_t bytes() const override { return 0; }

 private:
  int64_t capacity_;
};

class SequenceTest : public ::testing::Test {
 protected:
  Sequence Make(Ids prompt, int64_t lookup, int64_t max_new_tokens = -1, int64_t capacity = 1000,
                std::vector<std::string> stop = {}) {
    SequenceOptions options;
    options.lookup = lookup;
    options.max_new_tokens = max_new_tokens;
    options.eos_token_ids = {kEos};
    options.stop = std::move(stop);
    auto sequence = Sequence::Create(tokenizer_, kVocab, KvCache(std::make_unique<NoStore>(capacity)),
                                     std::move(prompt), std::move(options));
    EXPECT_TRUE(sequence.ok()) << sequence.status().message();
    return *std::move(sequence);
  }

  // Tokens of the rows that the sequence asks for next, checked for position and for who wants logits.
  Ids Rows(Sequence* sequence, int64_t max_rows = 100) {
    std::vector<StepRow> rows;
    count_ = sequence->AppendRows(max_rows, &rows);
    EXPECT_EQ(count_, static_cast<int64_t>(rows.size()));
    EXPECT_LE(count_, max_rows);
    Ids tokens;
    for (const StepRow& row : rows) {
      EXPECT_EQ(row.pos, sequence->cache().length() + static_cast<int64_t>(tokens.size()));
      EXPECT_LT(row.pos, sequence->cache().capacity());
      EXPECT_EQ(row.wants_logits, row.pos + 1 >= static_cast<int64_t>(sequence->tokens().size()));
      tokens.push_back(row.token);
    }
    return tokens;
  }

  // The step is done; its rows that wanted logits say `ids`.
  std::string Say(Sequence* sequence, const Ids& ids) {
    std::vector<float> logits(ids.size() * kVocab, 0.0F);
    for (size_t i = 0; i < ids.size(); ++i) {
      logits[i * kVocab + static_cast<size_t>(ids[i])] = 1.0F;
    }
    std::string text;
    const Status status = sequence->Advance(count_, logits, &text);
    EXPECT_TRUE(status.ok()) << status.message();
    return text;
  }

  Tokenizer tokenizer_ = *Tokenizer::FromParts(SmallParts());
  int64_t count_ = 0;
};

TEST_F(SequenceTest, ReadsThePromptInChunksAndWantsLogitsOnce) {
  Sequence sequence = Make({'a', 'b', 'c', 'd', 'e'}, 0);
  EXPECT_EQ(sequence.RowsWanted(), 5);
  EXPECT_THAT(Rows(&sequence, 2), ElementsAre('a', 'b'));
  EXPECT_THAT(Rows(&sequence, 3), ElementsAre('a', 'b', 'c')) << "asked again before the step";
  Say(&sequence, {});
  EXPECT_EQ(sequence.RowsWanted(), 2);
  EXPECT_THAT(Rows(&sequence, 0), IsEmpty());
  EXPECT_THAT(Rows(&sequence, 10), ElementsAre('d', 'e'));
  EXPECT_EQ(Say(&sequence, {'f'}), "f");
  EXPECT_EQ(sequence.RowsWanted(), 1);
  EXPECT_THAT(Rows(&sequence), ElementsAre('f'));
}

TEST_F(SequenceTest, AGuessIsTakenAsFarAsItIsRight) {
  Sequence sequence = Make({'x', 'y', 'p', 'q', 'r', '.', 'x', 'y'}, 8);
  EXPECT_THAT(Rows(&sequence), ElementsAre('x', 'y', 'p', 'q', 'r', '.', 'x', 'y', 'p', 'q')) << "two at first";
  EXPECT_EQ(Say(&sequence, {'p', 'q', 'r'}), "pqr") << "both right, and the token after them";
  EXPECT_EQ(sequence.cache().length(), 10);
  EXPECT_EQ(sequence.RowsWanted(), 1);
  EXPECT_THAT(Rows(&sequence), ElementsAre('r', '.', 'x', 'y', 'p'));
  EXPECT_EQ(Say(&sequence, {'.', 'x', '!', 'z', 'z'}), ".x!") << "the third was wrong";
  EXPECT_EQ(sequence.cache().length(), 13);
  EXPECT_THAT(Rows(&sequence), ElementsAre('!')) << "nothing like it before; the wrong rows are overwritten";
  EXPECT_EQ(sequence.lookup().drafted(), 6);
  EXPECT_EQ(sequence.lookup().accepted(), 4);
}

TEST_F(SequenceTest, AWrongGuessGivesTheTokenThatAPlainStepGives) {
  Sequence sequence = Make({'x', 'y', 'p', 'x', 'y'}, 8);
  ASSERT_EQ(Rows(&sequence).size(), 7U);
  EXPECT_EQ(Say(&sequence, {'n', 'x', 'y'}), "n") << "what follows a wrong token means nothing";
  EXPECT_THAT(Rows(&sequence), ElementsAre('n'));
}

TEST_F(SequenceTest, GuessesKeepWithinTheRowsOfTheStep) {
  const Ids loop(10, 'a');
  Sequence sequence = Make(loop, 8);
  EXPECT_EQ(Rows(&sequence, 10).size(), 10U);
  EXPECT_EQ(Rows(&sequence, 11).size(), 11U);
  EXPECT_EQ(Rows(&sequence, 50).size(), 12U);
  EXPECT_EQ(Rows(&sequence, 9).size(), 9U) << "the prompt isn't through: nothing to guess";
  Say(&sequence, {});
  EXPECT_EQ(sequence.RowsWanted(), 1);
}

TEST_F(SequenceTest, GuessesEndWithTheNumberOfTokens) {
  for (const int64_t wanted : {1, 2, 3}) {
    Sequence sequence = Make(Ids(10, 'a'), 8, wanted);
    EXPECT_EQ(Rows(&sequence).size(), static_cast<size_t>(9 + wanted)) << "the last row gives a token as well";
    Say(&sequence, Ids(static_cast<size_t>(wanted), 'a'));
    EXPECT_EQ(sequence.finish_reason(), FinishReason::kMaxTokens);
    EXPECT_EQ(sequence.generated().size(), static_cast<size_t>(wanted));
    EXPECT_EQ(sequence.RowsWanted(), 0);
    EXPECT_THAT(Rows(&sequence), IsEmpty());
  }
}

TEST_F(SequenceTest, GuessesEndWithTheContext) {
  Sequence sequence = Make(Ids(10, 'a'), 8, -1, 11);
  EXPECT_EQ(Rows(&sequence).size(), 11U);
  Say(&sequence, {'a', 'b'});
  EXPECT_EQ(sequence.finish_reason(), FinishReason::kContextFull);
  EXPECT_EQ(sequence.generated().size(), 2U) << "the last token needs no position";
}

TEST_F(SequenceTest, AnEndInAGuessDropsTheRestOfIt) {
  Sequence eos = Make({'x', 'y', kEos, 'z', 'x', 'y'}, 8);
  ASSERT_EQ(Rows(&eos).size(), 8U);
  EXPECT_EQ(Say(&eos, {kEos, 'z', 'x'}), "");
  EXPECT_EQ(eos.finish_reason(), FinishReason::kEos);
  EXPECT_THAT(eos.generated(), ElementsAre(kEos));
  EXPECT_EQ(eos.lookup().accepted(), 1);

  Sequence stop = Make({'x', 'y', 'p', 'q', 'x', 'y'}, 8, -1, 1000, {"p"});
  ASSERT_EQ(Rows(&stop).size(), 8U);
  EXPECT_EQ(Say(&stop, {'p', 'q', 'x'}), "");
  EXPECT_EQ(stop.finish_reason(), FinishReason::kStopString);
  EXPECT_THAT(stop.generated(), ElementsAre('p'));
}

TEST_F(SequenceTest, LogitsThatAreNotFiniteAreAnErrorInAGuessToo) {
  Sequence sequence = Make({'x', 'y', 'p', 'q', 'x', 'y'}, 8);
  ASSERT_EQ(Rows(&sequence).size(), 8U);
  std::vector<float> logits(3 * kVocab, 0.0F);
  logits['p'] = 1.0F;
  logits[kVocab + 3] = std::numeric_limits<float>::quiet_NaN();
  std::string text;
  EXPECT_THAT(sequence.Advance(count_, logits, &text).message(), HasSubstr("not all finite at position 7"));
}

TEST_F(SequenceTest, BadOptionsAreNamed) {
  const auto message = [&](Ids prompt, int64_t lookup) {
    return Sequence::Create(tokenizer_, kVocab, KvCache(std::make_unique<NoStore>(4)), std::move(prompt),
                            {.sampling = {}, .stop = {}, .eos_token_ids = {}, .logit_bias = {}, .lookup = lookup})
        .status()
        .message();
  };
  EXPECT_THAT(message({'a'}, -1), HasSubstr("lookup of -1"));
  EXPECT_THAT(message({'a'}, kMaxLookup + 1), HasSubstr("0 (off) to 64"));
  EXPECT_THAT(message({'a'}, kMaxLookup), IsEmpty());
  EXPECT_THAT(message({'a', 'b', 'c', 'd', 'e'}, 0), HasSubstr("room for 4"));
}

TEST_F(SequenceTest, BeginsBehindWhatItsCacheHolds) {
  KvCache cache(std::make_unique<NoStore>(10));
  cache.Advance(3);
  auto sequence = Sequence::Create(tokenizer_, kVocab, std::move(cache), {'a', 'b', 'c', 'd', 'e'}, {});
  ASSERT_TRUE(sequence.ok()) << sequence.status().message();
  EXPECT_EQ(sequence->RowsWanted(), 2);
  EXPECT_THAT(Rows(&*sequence), ElementsAre('d', 'e'));
  EXPECT_EQ(Say(&*sequence, {'f'}), "f");
  EXPECT_EQ(sequence->ReleaseCache().length(), 5);
}

TEST_F(SequenceTest, ACacheMayNotHoldTheWholePrompt) {
  for (const bool scores : {false, true}) {
    KvCache cache(std::make_unique<NoStore>(10));
    cache.Advance(scores ? 1 : 3);
    const auto sequence = Sequence::Create(
        tokenizer_, kVocab, std::move(cache), {'a', 'b', 'c'},
        {.sampling = {}, .stop = {}, .eos_token_ids = {}, .logit_bias = {}, .prompt_logprobs = scores});
    ASSERT_FALSE(sequence.ok());
    EXPECT_THAT(sequence.status().message(), HasSubstr(scores ? "takes 0 at most" : "takes 2 at most"));
  }
}

// The row for token t has logit 1 at t + 1 and 0 elsewhere.
TEST_F(SequenceTest, ScoresThePromptAndWhatItGenerates) {
  const float sure = 1.0F - std::log(std::exp(1.0F) + static_cast<float>(kVocab - 1));
  const float unsure = sure - 1.0F;
  for (const int64_t generated : {0, 2}) {
    auto sequence = Sequence::Create(tokenizer_, kVocab, KvCache(std::make_unique<NoStore>(200)), Ids(100, 'a'),
                                     {.sampling = {},
                                      .max_new_tokens = generated,
                                      .stop = {},
                                      .eos_token_ids = {},
                                      .logit_bias = {},
                                      .logprobs = 1,
                                      .prompt_logprobs = true});
    ASSERT_TRUE(sequence.ok()) << sequence.status().message();
    while (!sequence->finished()) {
      std::vector<StepRow> rows;
      count_ = sequence->AppendRows(80, &rows);
      Ids said;
      for (const StepRow& row : rows) {
        EXPECT_TRUE(row.wants_logits);
        said.push_back(row.token + 1);
      }
      EXPECT_LE(said.size(), 64U) << "logits are large";
      Say(&*sequence, said);
    }
    ASSERT_EQ(sequence->prompt_logprobs().size(), 99U);
    for (const TokenLogprob& score : sequence->prompt_logprobs()) {
      EXPECT_EQ(score.id, 'a');
      EXPECT_NEAR(score.logprob, unsure, 1e-5);
      ASSERT_EQ(score.top.size(), 1U);
      EXPECT_EQ(score.top[0].first, 'b');
      EXPECT_NEAR(score.top[0].second, sure, 1e-5);
    }
    ASSERT_EQ(sequence->logprobs().size(), static_cast<size_t>(generated));
    EXPECT_EQ(sequence->generated().size(), static_cast<size_t>(generated));
    EXPECT_EQ(sequence->finish_reason(), FinishReason::kMaxTokens);
    if (generated == 2) {
      EXPECT_EQ(sequence->logprobs()[1].id, 'c');
      EXPECT_NEAR(sequence->logprobs()[1].logprob, sure, 1e-5);
    }
  }
}

TEST_F(SequenceTest, BiasIsAddedToLogits) {
  const auto with = [&](LogitBias bias) {
    SequenceOptions options;
    options.logit_bias = std::move(bias);
    return Sequence::Create(tokenizer_, kVocab, KvCache(std::make_unique<NoStore>(10)), {'a'}, std::move(options));
  };
  auto sequence = with({{'z', 1.5F}, {'f', -1}});
  ASSERT_TRUE(sequence.ok());
  Rows(&*sequence);
  EXPECT_EQ(Say(&*sequence, {'f'}), "z");
  EXPECT_THAT(with({{kVocab, 1}}).status().message(), HasSubstr("token 256"));
  EXPECT_THAT(with({{'a', 101}}).status().message(), HasSubstr("101"));
  EXPECT_THAT(with({{'a', NAN}}).status().message(), HasSubstr("[-100, 100]"));
}

}  // namespace
}  // namespace phidias
