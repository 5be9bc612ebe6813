// Generation on the demo model: where a text ends and why, what is never sampled, and that chunks, seeds and
// cancellation behave. Goldens are in tests/golden_model_test.cc.
#include "engine/generate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "tests/support/random_model.h"

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

// Cancelled by the back end in the middle of a step: after `linears` linear layers.
struct CancelInside {
  explicit CancelInside(int64_t linears) {
    recording.on_linear = [this, left = linears](LinearPlace) mutable { cancel = cancel || --left == 0; };
  }
  testing_support::Recording recording;
  std::atomic<bool> cancel{false};
  LoadedModel model = testing_support::RandomModel(testing_support::SmallConfig(), {.recording = &recording});
};

TEST(Generate, CancelledInTheMiddleOfThePrompt) {
  CancelInside inside(4 * 13 + 5);  // two layers of six and lm_head a step: in the fifth step of twelve
  GenerateOptions options;
  options.batch = 4;
  options.cancel = &inside.cancel;
  const auto result = Generate(inside.model, std::vector<int32_t>(48, 'a'), options, [](std::string_view) { FAIL(); });
  ASSERT_TRUE(result.ok()) << result.status().message();
  EXPECT_EQ(result->finish_reason, FinishReason::kCancelled);
  EXPECT_TRUE(result->ids.empty());
  EXPECT_EQ(result->prompt_tokens, 48);
  EXPECT_EQ(inside.recording.steps.size(), 5U);
}

TEST(Generate, LookupChangesNothingButTheNumberOfSteps) {
  GenerateOptions options;
  options.sequence.max_new_tokens = 80;
  const std::string prompt =
      "Once upon a time, there was a dog. The dog had a ball. Once upon a time, there was a dog.";
  const auto plain = Complete(prompt, options);
  ASSERT_TRUE(plain.ok());
  EXPECT_EQ(plain->drafted, 0);
  for (const int64_t lookup : {1, 3, 16}) {
    options.sequence.lookup = lookup;
    std::string streamed;
    const auto guessed = Complete(prompt, options, &streamed);
    ASSERT_TRUE(guessed.ok());
    EXPECT_EQ(guessed->ids, plain->ids) << lookup;
    EXPECT_EQ(streamed, plain->text);
    EXPECT_GT(guessed->accepted, 0);
    EXPECT_GE(guessed->drafted, guessed->accepted);
  }
}

// What GenerateMany reported, by request.
struct Reported {
  GenerateSink Sink() {
    GenerateSink sink;
    sink.on_text = [this](size_t index, std::string_view text) { texts[index] += text; };
    sink.on_result = [this](size_t index, Result<GenerateResult> result) {
      EXPECT_TRUE(results.emplace(index, std::move(result)).second) << "reported once";
    };
    return sink;
  }
  std::map<size_t, std::string> texts;
  std::map<size_t, Result<GenerateResult>> results;
};

std::vector<GenerateRequest> SomeRequests() {
  std::vector<GenerateRequest> requests;
  for (const char* prompt : {"Once upon a time", "One day", "The dog", "Lily and Tom", "Instruct: Hello\nOutput:"}) {
    requests.push_back({.prompt = Ids(prompt), .sequence = {}});
    requests.back().sequence.max_new_tokens = static_cast<int64_t>(5 * requests.size());
    requests.back().sequence.lookup = static_cast<int64_t>(requests.size() % 3);
  }
  return requests;
}

TEST(GenerateParallel, EachSaysWhatItSaysAlone) {
  const std::vector<GenerateRequest> requests = SomeRequests();
  for (const int64_t parallel : {1, 2, 3, 100}) {
    Reported reported;
    ASSERT_TRUE(GenerateMany(Demo(), requests, {.parallel = parallel}, reported.Sink()).ok());
    ASSERT_EQ(reported.results.size(), requests.size());
    for (size_t i = 0; i < requests.size(); ++i) {
      GenerateOptions options;
      options.sequence = requests[i].sequence;
      const auto alone = Generate(Demo(), requests[i].prompt, options, [](std::string_view) {});
      const Result<GenerateResult>& result = reported.results.at(i);
      ASSERT_TRUE(alone.ok() && result.ok());
      EXPECT_EQ(result->ids, alone->ids) << i;
      EXPECT_EQ(result->text, alone->text) << i;
      EXPECT_EQ(result->finish_reason, alone->finish_reason) << i;
      EXPECT_EQ(reported.texts[i], alone->text) << i;
    }
  }
}

TEST(GenerateParallel, NoMoreThanThatManyAtATime) {
  testing_support::Recording recording;
  const LoadedModel model = testing_support::RandomModel(testing_support::SmallConfig(), {.recording = &recording});
  std::vector<GenerateRequest> requests(7, {.prompt = {'a', 'b'}, .sequence = {}});
  for (GenerateRequest& request : requests) {
    request.sequence.max_new_tokens = 4;
    request.sequence.ignore_eos = true;
  }
  Reported reported;
  ASSERT_TRUE(GenerateMany(model, requests, {.parallel = 3}, reported.Sink()).ok());
  std::vector<size_t> together;
  for (const auto& step : recording.steps) {
    std::set<const KvStore*> sequences;
    for (const StepRow& row : step.rows) {
      sequences.insert(row.kv);
    }
    together.push_back(sequences.size());
  }
  EXPECT_EQ(together, (std::vector<size_t>{3, 3, 3, 3, 3, 3, 3, 3, 1, 1, 1, 1}));
}

TEST(GenerateParallel, OneThatCantBeginLeavesTheOthers) {
  std::vector<GenerateRequest> requests = SomeRequests();
  requests[1].prompt.clear();
  requests[2].prompt.assign(600, 5);
  requests[3].sequence.max_new_tokens = 0;
  Reported reported;
  ASSERT_TRUE(GenerateMany(Demo(), requests, {.parallel = 2}, reported.Sink()).ok());
  ASSERT_EQ(reported.results.size(), requests.size());
  EXPECT_TRUE(reported.results.at(0).ok());
  EXPECT_THAT(reported.results.at(1).status().message(), HasSubstr("the prompt is empty"));
  EXPECT_THAT(reported.results.at(2).status().message(), HasSubstr("600 tokens"));
  EXPECT_EQ(reported.results.at(3)->finish_reason, FinishReason::kMaxTokens);
  EXPECT_TRUE(reported.results.at(4).ok());
}

TEST(GenerateParallel, CancelledReportsWhatWasBegun) {
  CancelInside inside(7 * 13 + 3);
  std::vector<GenerateRequest> requests(5, {.prompt = {'a', 'b'}, .sequence = {}});
  requests[0].sequence.max_new_tokens = 3;
  for (GenerateRequest& request : requests) {
    request.sequence.ignore_eos = true;
  }
  Reported reported;
  ASSERT_TRUE(GenerateMany(inside.model, requests, {.parallel = 2, .cancel = &inside.cancel}, reported.Sink()).ok());
  ASSERT_EQ(reported.results.size(), 3U);
  EXPECT_EQ(reported.results.at(0)->finish_reason, FinishReason::kMaxTokens);
  for (const size_t index : {1, 2}) {
    const Result<GenerateResult>& result = reported.results.at(index);
    EXPECT_EQ(result->finish_reason, FinishReason::kCancelled);
    EXPECT_EQ(result->ids.size(), index == 1 ? 7U : 4U) << "of the seven whole steps";
    EXPECT_EQ(result->text, reported.texts[index]);
  }
}

TEST(GenerateParallel, BadOptionsAreNamed) {
  EXPECT_THAT(GenerateMany(Demo(), {}, {.parallel = 0}, {}).message(), HasSubstr("0 prompts at a time"));
  EXPECT_THAT(GenerateMany(Demo(), {}, {.batch = 0}, {}).message(), HasSubstr("batch of 0"));
  EXPECT_TRUE(GenerateMany(Demo(), {}, {}, {}).ok());
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
