// Perplexity: against negative log-likelihoods of Hugging Face's logits, and the
// same digits for every batch size, thread count, number of ranks and interruption.
#include "quant/perplexity.h"

#include <gmock/gmock.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "common/file.h"
#include "engine/logprobs.h"
#include "model/files/safetensors.h"
#include "quant/perplexity_state.h"
#include "tests/support/quant_test_util.h"
#include "tests/support/thread_ranks.h"

namespace phidias {
namespace {

using ::testing::HasSubstr;

std::vector<ScoredRow> Rows(const std::vector<std::vector<int32_t>>& ids) {
  std::vector<ScoredRow> rows;
  for (const auto& row : ids) {
    rows.push_back({.ids = row});
  }
  return rows;
}

TEST(Perplexity, OfTheDemoPromptsIsThatOfTheGoldenLogits) {
  const std::string golden = std::string(PHIDIAS_SOURCE_DIR) + "/tests/golden/";
  const auto prompts = nlohmann::json::parse(std::ifstream(golden + "demo-golden.json"))["prompts"];
  const TensorStore logits = *ReadSafetensors(golden + "demo-logits.safetensors");
  std::vector<std::vector<int32_t>> ids;
  double nll = 0;
  int64_t tokens = 0;
  std::vector<double> row_nll;
  for (size_t i = 0; i < prompts.size(); ++i) {
    ids.push_back(prompts[i]["prompt_ids"].get<std::vector<int32_t>>());
    const StoredTensor& tensor = logits.tensors.at("logits." + std::to_string(i));
    const auto vocab = static_cast<size_t>(tensor.shape[1]);
    std::vector<float> values(tensor.bytes / sizeof(float));
    std::memcpy(values.data(), tensor.data, tensor.bytes);
    double sum = 0;
    for (size_t pos = 0; pos + 1 < ids.back().size(); ++pos) {
      sum += NegativeLogLikelihood(std::span(values).subspan(pos * vocab, vocab), ids.back()[pos + 1]);
      ++tokens;
    }
    row_nll.push_back(sum);
    nll += sum;
  }
  const auto phi = PhiOf(OpenShared(kDemoModel));
  const Result<PerplexityResult> result = Perplexity(*phi, Rows(ids), {});
  ASSERT_TRUE(result.ok()) << result.status().message();
  EXPECT_EQ(result->tokens, tokens);
  // Logits agree within about 1e-5, and a log-likelihood moves by no more than they do.
  EXPECT_NEAR(result->nll / nll, 1, 1e-6);
  EXPECT_NEAR(result->perplexity, std::exp(nll / static_cast<double>(tokens)), 1e-4);
  for (size_t i = 0; i < row_nll.size(); ++i) {
    EXPECT_NEAR(result->rows[i].nll, row_nll[i], 1e-4);
  }
}

TEST(Perplexity, IsTheSameForEveryBatchAndThreadCount) {
  const auto ids = RandomRows(9);
  const auto checkpoint = OpenShared(kTinyModel);
  const auto want = Perplexity(*PhiOf(checkpoint), Rows(ids), {.batch = 100000});
  ASSERT_TRUE(want.ok()) << want.status().message();
  for (const int threads : {1, 2}) {
    const auto phi = PhiOf(checkpoint, threads);
    for (const int64_t batch : {1, 2, 7, 64}) {
      std::vector<std::pair<int64_t, int64_t>> seen;
      PerplexityOptions options{.batch = batch};
      options.progress = [&](int64_t done, int64_t total) { seen.emplace_back(done, total); };
      const auto got = Perplexity(*phi, Rows(ids), options);
      ASSERT_TRUE(got.ok()) << got.status().message();
      EXPECT_EQ(got->rows, want->rows) << threads << " threads, batch " << batch;
      EXPECT_EQ(got->perplexity, want->perplexity);
      EXPECT_EQ(seen.back(), std::pair(got->computed_tokens, got->computed_tokens));
      EXPECT_EQ(seen.size(), static_cast<size_t>((got->computed_tokens + batch - 1) / batch));
    }
  }
}

TEST(Perplexity, IsTheSameForEveryNumberOfRanks) {
  const auto ids = RandomRows(10);
  const auto checkpoint = OpenShared(kTinyModel);
  const auto want = Perplexity(*PhiOf(checkpoint), Rows(ids), {});
  ASSERT_TRUE(want.ok());
  for (const int size : {2, 3, 16}) {  // more ranks than rows too
    const ScratchFile state;
    for (const bool with_state : {false, true}) {
      ThreadRanks(size).Run([&](Ranks& ranks) {
        const auto phi = PhiOf(checkpoint);
        PerplexityOptions options;
        options.ranks = &ranks;
        options.state_path = with_state ? state.path() : "";
        const auto got = Perplexity(*phi, Rows(ids), options);
        ASSERT_TRUE(got.ok()) << got.status().message();
        EXPECT_EQ(got->rows, want->rows);
        EXPECT_EQ(got->nll, want->nll);
      });
    }
  }
}

TEST(Perplexity, RefusesRanksWithOtherData) {
  const auto checkpoint = OpenShared(kTinyModel);
  ThreadRanks(2).Run([&](Ranks& ranks) {
    const auto ids = RandomRows(4, static_cast<uint64_t>(ranks.rank()));
    PerplexityOptions options;
    options.ranks = &ranks;
    const auto got = Perplexity(*PhiOf(checkpoint), Rows(ids), options);
    ASSERT_FALSE(got.ok());
    EXPECT_THAT(got.status().message(), HasSubstr("rank 1 has another model or other data"));
  });
}

TEST(Perplexity, GoesOnFromAState) {
  const auto ids = RandomRows(12);
  const auto phi = PhiOf(OpenShared(kTinyModel));
  const auto want = Perplexity(*phi, Rows(ids), {});
  ASSERT_TRUE(want.ok());
  const ScratchFile state;
  std::atomic<bool> cancel = false;
  PerplexityOptions options{.batch = 20, .cancel = &cancel};
  options.state_path = state.path();
  options.state_fingerprint = "model";
  options.progress = [&](int64_t done, int64_t total) { cancel = done > total / 2; };
  EXPECT_EQ(Perplexity(*phi, Rows(ids), options).status().code(), StatusCode::kCancelled);
  ASSERT_TRUE(FileExists(state.path()));

  cancel = false;
  options.progress = {};
  const auto resumed = Perplexity(*phi, Rows(ids), options);
  ASSERT_TRUE(resumed.ok()) << resumed.status().message();
  EXPECT_EQ(resumed->rows, want->rows);
  EXPECT_EQ(resumed->perplexity, want->perplexity);
  EXPECT_LT(resumed->computed_tokens, want->computed_tokens * 6 / 10);
  EXPECT_GT(resumed->computed_tokens, 0);
  const auto again = Perplexity(*phi, Rows(ids), options);  // nothing left to do
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->computed_tokens, 0);
  EXPECT_EQ(again->nll, want->nll);

  options.state_fingerprint = "another model";
  EXPECT_THAT(Perplexity(*phi, Rows(ids), options).status().message(), HasSubstr("another model, other data"));
}

TEST(PerplexityState, RefusesWhatItIsNot) {
  KnownScores scores(3);
  const auto message = [&](const std::string& text) {
    return ParsePerplexityState(text, "state.json", "f", &scores).message();
  };
  for (const char* text : {"", "{", "[]", "7", R"({"format": "x"})", R"({"format": 1, "rows": 2})"}) {
    EXPECT_THAT(message(text), HasSubstr("state.json: is not a state")) << text;
  }
  const std::string head = R"({"format": "phidias-perplexity-state-1", "fingerprint": "f", "rows": )";
  for (const char* rows : {"[1]", "[[0, 1]]", "[[3, 1.0, 1]]", "[[-1, 1.0, 1]]", "[[0, \"1\", 1]]", "[[0, 1.0, -1]]"}) {
    EXPECT_THAT(message(head + rows + "}"), HasSubstr("is broken")) << rows;
  }
  EXPECT_EQ(message(head + "[[2, 0.1, 7]]}"), "");
  EXPECT_EQ(scores[2], (RowScore{.nll = 0.1, .tokens = 7}));
  // Numbers survive to the last bit.
  scores[0] = RowScore{.nll = 471521.1262859871 / 3, .tokens = 5};
  KnownScores back(3);
  ASSERT_TRUE(ParsePerplexityState(PerplexityStateText("f", scores), "x", "f", &back).ok());
  EXPECT_EQ(back, scores);
}

TEST(Perplexity, RefusesRowsThatCannotBeScored) {
  const auto phi = PhiOf(OpenShared(kTinyModel));
  const auto message = [&](const std::vector<std::vector<int32_t>>& ids, PerplexityOptions options = {}) {
    return Perplexity(*phi, Rows(ids), options).status().message();
  };
  EXPECT_THAT(message({}), HasSubstr("no rows"));
  EXPECT_THAT(message({{1, 2}, {1}}), HasSubstr("row 2: has 1 tokens and predicts none"));
  EXPECT_THAT(message({std::vector<int32_t>(129, 1)}),
              HasSubstr("row 1: has 129 tokens; this model's context has 128"));
  EXPECT_THAT(message({{1, 512}}), HasSubstr("token id 512 is outside the model's vocabulary of 512"));
  EXPECT_THAT(message({{1, 2}}, {.batch = 0}), HasSubstr("a batch of 0 tokens"));
}

TEST(Perplexity, RefusesLogitsThatAreNoNumbers) {
  Checkpoint broken = *OpenShared(kTinyModel);
  broken.weights.final_layernorm.bias[0] = INFINITY;
  const auto ids = RandomRows(2);
  const auto phi = PhiOf(std::make_shared<const Checkpoint>(broken));
  EXPECT_THAT(Perplexity(*phi, Rows(ids), {}).status().message(),
              HasSubstr("row 1, token 2: the model's logits are not finite"));
}

TEST(Summarise, GivesMeanAndStandardError) {
  const std::vector<RowScore> rows = {{10, 4}, {30, 8}, {5, 3}};
  const PerplexityResult result = Summarise(rows);
  const double mean = 45.0 / 15;
  EXPECT_EQ(result.nll, 45);
  EXPECT_EQ(result.tokens, 15);
  EXPECT_NEAR(result.perplexity, std::exp(mean), 1e-12);
  const double squares = std::pow(10 - 4 * mean, 2) + std::pow(30 - 8 * mean, 2) + std::pow(5 - 3 * mean, 2);
  EXPECT_NEAR(*result.standard_error, std::exp(mean) * std::sqrt(3.0 / 2 * squares) / 15, 1e-12);
  EXPECT_FALSE(Summarise(std::vector<RowScore>{{10, 4}}).standard_error.has_value());
  EXPECT_EQ(Summarise(std::vector<RowScore>{{1e6, 4}}).perplexity, INFINITY);
}

// The standard error means what it says: over many draws of rows from one population, means scatter by it.
TEST(Summarise, StandardErrorIsTheScatterOfRepetitions) {
  constexpr size_t kRepetitions = 400;
  constexpr size_t kRows = 50;
  double sum = 0;
  double squares = 0;
  double claimed = 0;
  for (size_t repetition = 0; repetition < kRepetitions; ++repetition) {
    std::vector<RowScore> rows;
    for (size_t i = 0; i < kRows; ++i) {
      const auto draw = [&](uint64_t bound) {
        return numerics::ScaleBits(numerics::RandomBits(5, repetition * kRows + i, bound), bound);
      };
      const auto tokens = static_cast<int64_t>(20 + draw(101));
      rows.push_back(
          {.nll = static_cast<double>(tokens) * (2.0 + static_cast<double>(draw(1000)) / 1000), .tokens = tokens});
    }
    const PerplexityResult result = Summarise(rows);
    sum += result.perplexity;
    squares += result.perplexity * result.perplexity;
    claimed += *result.standard_error / kRepetitions;
  }
  const double mean = sum / kRepetitions;
  const double scatter = std::sqrt(squares / kRepetitions - mean * mean);
  EXPECT_NEAR(claimed / scatter, 1, 0.15);  // 400 repetitions know a deviation within about 3.5 %
}

TEST(CompareScores, UsesTheRowsDifferences) {
  const std::vector<RowScore> before = {{10, 4}, {30, 8}};
  const std::vector<RowScore> after = {{10.4, 4}, {30.8, 8}};  // 0.1 a token worse, in both
  const PerplexityChange change = CompareScores(before, after);
  EXPECT_NEAR(change.relative, std::exp(0.1) - 1, 1e-12);
  EXPECT_NEAR(*change.standard_error, 0, 1e-9);
}

TEST(SlidingWindows, ScoreEveryTokenOnce) {
  std::vector<int32_t> stream(23);
  for (size_t i = 0; i < stream.size(); ++i) {
    stream[i] = static_cast<int32_t>(i);
  }
  for (const int64_t window : {2, 5, 8, 23, 40}) {
    for (int64_t stride = 1; stride <= window; ++stride) {
      const auto rows = SlidingWindows(stream, window, stride);
      ASSERT_TRUE(rows.ok());
      std::vector<int> scored(stream.size());
      for (const ScoredRow& row : *rows) {
        ASSERT_LE(static_cast<int64_t>(row.ids.size()), window);
        for (size_t i = static_cast<size_t>(row.first_scored); i < row.ids.size(); ++i) {
          ++scored[static_cast<size_t>(row.ids[i])];
        }
      }
      for (size_t i = 0; i < scored.size(); ++i) {
        // A token with nothing before it in its window can't be predicted: the first, and with windows that don't
        // overlap the first of each.
        const bool first = i == 0 || (stride == window && i % static_cast<size_t>(window) == 0);
        EXPECT_EQ(scored[i], first ? 0 : 1) << "window " << window << " stride " << stride << " token " << i;
      }
    }
  }
  EXPECT_FALSE(SlidingWindows(stream, 1, 1).ok());
  EXPECT_FALSE(SlidingWindows(stream, 4, 0).ok());
  EXPECT_THAT(SlidingWindows(stream, 4, 5).status().message(), HasSubstr("moves by 1 to its own length"));
}

TEST(SlidingWindows, GiveEveryTokenItsContext) {
  const auto phi = PhiOf(OpenShared(kTinyModel));
  std::vector<int32_t> stream;
  for (const auto& row : RandomRows(3)) {
    stream.insert(stream.end(), row.begin(), row.end());
  }
  stream.resize(30);
  const auto windows = SlidingWindows(stream, 12, 4);
  ASSERT_TRUE(windows.ok());
  const auto got = Perplexity(*phi, *windows, {.batch = 50});
  ASSERT_TRUE(got.ok()) << got.status().message();
  EXPECT_EQ(got->tokens, 29);
  // Token by token: what a window scores is what the same window scored whole says of those tokens.
  double nll = 0;
  for (const ScoredRow& window : *windows) {
    const auto whole = Perplexity(*phi, std::vector<ScoredRow>{{.ids = window.ids}}, {});
    double head = 0;
    if (window.first_scored > 1) {
      const auto part = Perplexity(
          *phi, std::vector<ScoredRow>{{.ids = window.ids.first(static_cast<size_t>(window.first_scored))}}, {});
      head = part->nll;
    }
    nll += whole->nll - head;
  }
  EXPECT_NEAR(got->nll, nll, 1e-9 * nll);
}

}  // namespace
}  // namespace phidias
