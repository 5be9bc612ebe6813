// Texts that the card of the design `tiled` makes by itself, as the engine asks it to: what the CPU says, whatever ends
// the text.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <optional>
#include <string>

#include "backend/fpga/fallback_backend.h"
#include "engine/generate.h"
#include "tests/fpga/tiled_test_util.h"
#include "tests/support/streamed_card.h"

namespace phidias::fpga {
namespace {

using ::testing::HasSubstr;

Result<std::unique_ptr<CardDevice>> OpenStreamed(const HbmPlacement& placement) {
  return std::unique_ptr<CardDevice>(std::make_unique<StreamedCard>(placement.link));
}

LoadedModel WithTokenizer(std::unique_ptr<Phi> phi) {
  LoadedModel model;
  model.checkpoint = Quantized(LmHead::kFloat);
  model.phi = std::move(phi);
  model.tokenizer = std::make_unique<Tokenizer>(*Tokenizer::Load(testing_support::kRoot + "/models/demo"));
  return model;
}

class TiledGenerate : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    cpu_.emplace(WithTokenizer(MakeCpu(Quantized(LmHead::kFloat))));
    TiledModel tiled = MakeTiled(Quantized(LmHead::kFloat), OpenStreamed);
    card_ = tiled.backend;
    tiled_.emplace(WithTokenizer(std::move(tiled.phi)));
  }
  static void TearDownTestSuite() {
    cpu_.reset();
    tiled_.reset();
  }

  static GenerateResult Run(const LoadedModel& model, const GenerateOptions& options) {
    const auto result = Generate(model, Ids(), options, [](std::string_view /*text*/) {});
    EXPECT_TRUE(result.ok()) << result.status().message();
    return result.ok() ? *result : GenerateResult();
  }

  // Returns how many tokens the card chose by itself.
  static int64_t ExpectTheCpus(const GenerateOptions& options) {
    const GenerateResult want = Run(*cpu_, options);
    const int64_t before = card_->Use().generated;
    const GenerateResult got = Run(*tiled_, options);
    EXPECT_EQ(got.ids, want.ids);
    EXPECT_EQ(got.text, want.text);
    EXPECT_EQ(got.finish_reason, want.finish_reason);
    return card_->Use().generated - before;
  }

  static GenerateOptions Tokens(int64_t count, const SamplingParams& sampling = {}) {
    GenerateOptions options;
    options.sequence.sampling = sampling;
    options.sequence.max_new_tokens = count;
    options.sequence.ignore_eos = true;
    return options;
  }

  static std::optional<LoadedModel> cpu_;
  static std::optional<LoadedModel> tiled_;
  static CardBackend* card_;
};

std::optional<LoadedModel> TiledGenerate::cpu_;
std::optional<LoadedModel> TiledGenerate::tiled_;
CardBackend* TiledGenerate::card_ = nullptr;

TEST_F(TiledGenerate, SixtyFourGreedyTokens) {
  EXPECT_EQ(ExpectTheCpus(Tokens(64)), 63);
}

TEST_F(TiledGenerate, SixtyFourSampledTokens) {
  SamplingParams sampling = {.temperature = 0.8F, .seed = 42};
  EXPECT_EQ(ExpectTheCpus(Tokens(64, sampling)), 63);
  GenerateOptions options = Tokens(16, {.temperature = 1.5F, .top_k = 20, .top_p = 1.0F, .min_p = 0.01F, .seed = 7});
  options.sequence.stream = 3;
  EXPECT_EQ(ExpectTheCpus(options), 15);
}

TEST_F(TiledGenerate, AStopStringInTheMiddle) {
  GenerateOptions options = Tokens(48);
  const std::string text = Run(*cpu_, options).text;
  ASSERT_GT(text.size(), 40U);
  options.sequence.stop = {text.substr(text.size() / 2, 5)};
  ExpectTheCpus(options);
}

TEST_F(TiledGenerate, EosAndTheEndOfTheContext) {
  GenerateOptions options = Tokens(48);
  const std::vector<int32_t> ids = Run(*cpu_, options).ids;
  options.sequence.ignore_eos = false;
  options.sequence.eos_token_ids = {ids[30], ids[20]};  // the card knows of the first alone
  ExpectTheCpus(options);
  options = Tokens(-1);
  options.context = static_cast<int64_t>(Ids().size()) + 20;
  EXPECT_EQ(ExpectTheCpus(options), 20);
}

// The text so far is a beginning of the whole text, and the card can be asked again.
TEST_F(TiledGenerate, Cancellation) {
  const GenerateResult whole = Run(*cpu_, Tokens(64));
  std::atomic<bool> cancel = false;
  GenerateOptions options = Tokens(64);
  options.cancel = &cancel;
  int pieces = 0;
  const auto result = Generate(*tiled_, Ids(), options, [&](std::string_view /*text*/) { cancel = ++pieces == 10; });
  ASSERT_TRUE(result.ok()) << result.status().message();
  EXPECT_EQ(result->finish_reason, FinishReason::kCancelled);
  ASSERT_LT(result->ids.size(), 63U);
  EXPECT_TRUE(std::equal(result->ids.begin(), result->ids.end(), whole.ids.begin()));
  EXPECT_EQ(result->text, whole.text.substr(0, result->text.size()));
  EXPECT_EQ(ExpectTheCpus(Tokens(8)), 7);
}

TEST_F(TiledGenerate, TheHostChoosesWhatTheCardCannot) {
  EXPECT_EQ(ExpectTheCpus(Tokens(6, {.temperature = 1.0F, .top_k = 0, .seed = 1})), 0);
  EXPECT_EQ(ExpectTheCpus(Tokens(6, {.temperature = 1.0F, .top_k = 65, .seed = 1})), 0);
  EXPECT_EQ(ExpectTheCpus(Tokens(6, {.repeat_penalty = 1.3F})), 0);
  GenerateOptions options = Tokens(6);
  options.sequence.logit_bias = {{5, 3.0F}};
  EXPECT_EQ(ExpectTheCpus(options), 0);
  options = Tokens(6);
  options.sequence.lookup = 3;
  EXPECT_EQ(ExpectTheCpus(options), 0);
}

// Of several prompts the card makes the rest of the last one by itself.
TEST_F(TiledGenerate, TheLastOfSeveralPrompts) {
  const std::vector<GenerateRequest> requests = {{.prompt = Ids(), .sequence = Tokens(24).sequence},
                                                 {.prompt = {393, 26}, .sequence = Tokens(6).sequence}};
  const auto run = [&requests](const LoadedModel& model) {
    std::vector<std::vector<int32_t>> ids(requests.size());
    const GenerateSink sink = {
        .on_text = {}, .on_result = [&ids](size_t index, Result<GenerateResult> result) { ids[index] = result->ids; }};
    EXPECT_TRUE(GenerateMany(model, requests, {.parallel = 2}, sink).ok());
    return ids;
  };
  const int64_t before = card_->Use().generated;
  EXPECT_EQ(run(*tiled_), run(*cpu_));
  EXPECT_EQ(card_->Use().generated - before, 18);
}

// A card that isn't there, or fails while it generates: the text is the CPU's.
class TiledFallback : public ::testing::Test {
 protected:
  void Load(const OpenCard& open) {
    UseOwnCache();
    const std::shared_ptr<const Checkpoint>& checkpoint = Quantized(LmHead::kFloat);
    CardOptions options;
    options.cpu = {.threads = 1, .isa = ""};
    auto card = CreateTiledBackend(ShapeOf(checkpoint->config), options, *checkpoint->integer, open);
    ASSERT_TRUE(card.ok());
    auto backend = CreateFallbackBackend(
        *std::move(card),
        [checkpoint] { return CreateBackend(*checkpoint, {.threads = 1, .isa = ""}, Arithmetic::kInteger); },
        [this](const std::string& text) { notices_.push_back(text); });
    backend_ = backend.get();
    model_.emplace(WithTokenizer(*Phi::Create(checkpoint, std::move(backend))));
  }
  // The text of 32 tokens; on_text sees it as it comes.
  void ExpectTheCpus(const std::function<void(std::string_view)>& on_text) {
    GenerateOptions options;
    options.sequence.max_new_tokens = 32;
    options.sequence.ignore_eos = true;
    const LoadedModel cpu = WithTokenizer(MakeCpu(Quantized(LmHead::kFloat)));
    const auto want = Generate(cpu, Ids(), options, [](std::string_view /*text*/) {});
    const auto got = Generate(*model_, Ids(), options, on_text);
    ASSERT_TRUE(want.ok() && got.ok()) << got.status().message();
    EXPECT_EQ(got->ids, want->ids);
    EXPECT_EQ(got->text, want->text);
  }

  std::vector<std::string> notices_;
  CardBackend* backend_ = nullptr;
  std::optional<LoadedModel> model_;
};

TEST_F(TiledFallback, WhereThereIsNoCard) {
  Load([](const HbmPlacement& /*placement*/) -> Result<std::unique_ptr<CardDevice>> { return NotFound("no card"); });
  ExpectTheCpus([](std::string_view /*text*/) {});
  EXPECT_THAT(notices_, ::testing::ElementsAre(HasSubstr("no card")));
}

TEST_F(TiledFallback, InTheMiddleOfAGeneration) {
  std::atomic<bool> fails = false;
  Load([&fails](const HbmPlacement& placement) {
    return Result<std::unique_ptr<CardDevice>>(std::make_unique<StreamedCard>(placement.link, &fails));
  });
  int pieces = 0;
  ExpectTheCpus([&](std::string_view /*text*/) { fails = fails || ++pieces == 8; });
  EXPECT_THAT(notices_, ::testing::ElementsAre(HasSubstr("the card is gone")));
  EXPECT_GE(backend_->Use().generated, 4);
  EXPECT_LT(backend_->Use().generated, 31);
}

}  // namespace
}  // namespace phidias::fpga
