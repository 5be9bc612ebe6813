// Generation on the demo model: where a text ends and why, what is never sampled, and that chunks, seeds and
// cancellation behave. Goldens are in tests/golden_model_test.cc.
#include "engine/generate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace phidias {
namespace {

using testing::HasSubstr;

const LoadedModel& Demo() {
  static const LoadedModel model = [] {
    Result<LoadedModel> loaded =
        LoadModel({.path = std::string(PHIDIAS_SOURCE_DIR) + "/models/demo", .cpu = {}, .need_tokenizer = true});
    EXPECT_TRUE(loaded.ok()) << loaded.status().message();
    return std::move(*loaded);
  }();
  return model;
}

std::vector<int32_t> Ids(const std::string& text) {
  return *Demo().tokenizer->Encode(text);
}

Result<GenerateResult> Complete(const std::string& prompt, const GenerateOptions& options,
                                std::string* streamed = nullptr) {
  return Generate(Demo(), Ids(prompt), options, [&](std::string_view text) {
    if (streamed != nullptr) {
      *streamed += text;
    }
  });
}

TEST(Generate, EndsAtEosAndLeavesItOutOfTheText) {
  GenerateOptions options;
  const auto result = Complete("Instruct: Hello, how are you?\nOutput:", options);
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->finish_reason, FinishReason::kEos);
  EXPECT_EQ(result->ids.back(), 0);
  EXPECT_THAT(result->text, testing::Not(HasSubstr("<|endoftext|>")));
}

TEST(Generate, IgnoringEosGoesOnToTheEndOfTheContext) {
  GenerateOptions options;
  options.sequence.ignore_eos = true;
  options.context = 100;
  const auto result = Complete("Instruct: Hello, how are you?\nOutput:", options);
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->finish_reason, FinishReason::kContextFull);
  EXPECT_EQ(result->prompt_tokens + static_cast<int64_t>(result->ids.size()), 101);  // the last one needs no position
  EXPECT_THAT(result->ids, testing::Not(testing::Contains(0)));
}

TEST(Generate, WholeContextWithoutWrap) {
  GenerateOptions options;
  options.sequence.ignore_eos = true;
  const auto result = Complete("Once upon a time", options);
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->finish_reason, FinishReason::kContextFull);
  EXPECT_EQ(result->prompt_tokens + static_cast<int64_t>(result->ids.size()), 513);
}

TEST(Generate, StopStringsEndTheTextBeforeThem) {
  GenerateOptions options;
  options.sequence.max_new_tokens = 64;
  options.sequence.stop = {"ball", " play out"};
  std::string streamed;
  const auto result = Complete("Once upon a time, there was a", options, &streamed);
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->finish_reason, FinishReason::kStopString);
  EXPECT_EQ(result->text, " little girl named Lily. She loved to");
  EXPECT_EQ(streamed, result->text);
}

TEST(Generate, ChunksOfThePromptChangeNothing) {
  GenerateOptions options;
  options.sequence.max_new_tokens = 24;
  const std::string prompt = "Instruct: Tell me a story about a little dog and a red ball.\nOutput:";
  const auto want = Complete(prompt, options);
  ASSERT_TRUE(want.ok());
  for (const int64_t batch : {1, 2, 7, 17, 18}) {
    options.batch = batch;
    EXPECT_EQ(Complete(prompt, options)->ids, want->ids) << batch;
  }
}

TEST(Generate, SameSeedSameTextOtherSeedAnother) {
  GenerateOptions options;
  options.sequence.max_new_tokens = 32;
  options.sequence.sampling.temperature = 1.0F;
  options.sequence.sampling.seed = 11;
  const auto first = Complete("Once upon a time", options);
  const auto again = Complete("Once upon a time", options);
  options.sequence.sampling.seed = 12;
  const auto other = Complete("Once upon a time", options);
  EXPECT_EQ(first->ids, again->ids);
  EXPECT_NE(first->ids, other->ids);
}

TEST(Generate, IdsWithoutTextAreNeverSampled) {
  // At a high temperature every id is about as likely as any other; 64 of the demo model's 4160 rows have no text.
  GenerateOptions options;
  options.sequence.max_new_tokens = 400;
  options.sequence.ignore_eos = true;
  options.sequence.sampling = {.temperature = 100.0F, .top_k = 0, .top_p = 1.0F, .min_p = 0.0F, .seed = 3};
  const auto result = Complete("Once", options);
  ASSERT_TRUE(result.ok());
  ASSERT_EQ(result->ids.size(), 400U);
  for (const int32_t id : result->ids) {
    EXPECT_TRUE(Demo().tokenizer->HasText(id)) << id;
  }
}

TEST(Generate, ZeroTokensIsNoError) {
  GenerateOptions options;
  options.sequence.max_new_tokens = 0;
  const auto result = Complete("Once upon a time", options);
  ASSERT_TRUE(result.ok());
  EXPECT_TRUE(result->ids.empty());
  EXPECT_EQ(result->finish_reason, FinishReason::kMaxTokens);
}

TEST(Generate, CancelledBeforeTheFirstStep) {
  std::atomic<bool> cancel{true};
  GenerateOptions options;
  options.cancel = &cancel;
  const auto result = Complete("Once upon a time", options);
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->finish_reason, FinishReason::kCancelled);
}

TEST(Generate, CancelledInTheMiddleKeepsWhatThereIs) {
  std::atomic<bool> cancel{false};
  GenerateOptions options;
  options.cancel = &cancel;
  std::string streamed;
  const auto result = Generate(Demo(), Ids("Once upon a time"), options, [&](std::string_view text) {
    streamed += text;
    cancel = streamed.size() > 30;
  });
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->finish_reason, FinishReason::kCancelled);
  EXPECT_GT(result->text.size(), 30U);
  EXPECT_EQ(result->text, streamed);
}

TEST(Generate, BadRequestsAreNamed) {
  const auto message = [](std::vector<int32_t> prompt, const GenerateOptions& options) {
    return Generate(Demo(), std::move(prompt), options, [](std::string_view) {}).status().message();
  };
  GenerateOptions options;
  EXPECT_THAT(message({}, options), HasSubstr("the prompt is empty"));
  EXPECT_THAT(message({5, 4160}, options), HasSubstr("token id 4160"));
  EXPECT_THAT(message(std::vector<int32_t>(600, 5), options), HasSubstr("the prompt has 600 tokens"));
  options.context = 513;
  EXPECT_THAT(message({5}, options), HasSubstr("a context of 513 positions: this model takes 1 to 512"));
  options.context = 8;
  EXPECT_THAT(message(std::vector<int32_t>(9, 5), options), HasSubstr("room for 8"));
  options.batch = 0;
  EXPECT_THAT(message({5}, options), HasSubstr("batch of 0"));
  options = {};
  options.sequence.max_new_tokens = -2;
  EXPECT_THAT(message({5}, options), HasSubstr("-2"));
}

TEST(LoadModel, TokenizerAndModelMustFit) {
  const auto result = LoadModel(
      {.path = std::string(PHIDIAS_SOURCE_DIR) + "/tests/golden/tiny-phi2", .cpu = {}, .need_tokenizer = true});
  ASSERT_FALSE(result.ok());
  EXPECT_THAT(result.status().message(), HasSubstr("tokenizer.json"));
}

TEST(LoadModel, OptionsAreChecked) {
  const std::string path = std::string(PHIDIAS_SOURCE_DIR) + "/models/demo";
  const auto isa = LoadModel({.path = path, .cpu = {.threads = 0, .isa = "mmx"}, .need_tokenizer = false});
  EXPECT_THAT(isa.status().message(), HasSubstr("possible here: "));
  const auto threads = LoadModel({.path = path, .cpu = {.threads = 2000, .isa = ""}, .need_tokenizer = false});
  EXPECT_THAT(threads.status().message(), HasSubstr("must be 1 to 1024"));
}

}  // namespace
}  // namespace phidias
