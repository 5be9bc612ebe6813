// A card that fails and a CPU that goes on: the same bits as if the card had never been there, wherever it failed.

#include "backend/fpga/fallback_backend.h"

#include <algorithm>

#include "backend/cpu/cpu_backend.h"
#include "model/phi.h"
#include "tests/fpga/fpga_test_util.h"

namespace phidias::fpga {
namespace {

struct WithFallback {
  std::vector<std::string> notices;
  CardBackend* backend = nullptr;
  std::unique_ptr<Phi> phi;
};

std::unique_ptr<WithFallback> Make(const std::shared_ptr<const Checkpoint>& checkpoint,
                                   const DirectCard::Faults& faults, bool card_is_there = true) {
  auto made = std::make_unique<WithFallback>();
  const ModelShape shape = ShapeOf(checkpoint->config);
  auto card =
      CreateFpgaBackend(shape, {.timeout = std::chrono::milliseconds(100)},
                        [faults, card_is_there](const HbmPlacement& placement) -> Result<std::unique_ptr<CardDevice>> {
                          if (!card_is_there) {
                            return NotFound("no card");
                          }
                          return std::unique_ptr<CardDevice>(std::make_unique<DirectCard>(placement.link, faults));
                        });
  EXPECT_TRUE(card.ok());
  auto backend = CreateFallbackBackend(
      *std::move(card), [shape] { return CreateCpuBackend(shape, {.threads = 1, .isa = {}}); },
      [notices = &made->notices](const std::string& text) { notices->push_back(text); });
  made->backend = backend.get();
  auto phi = Phi::Create(checkpoint, std::move(backend));
  EXPECT_TRUE(phi.ok()) << phi.status().message();
  made->phi = *std::move(phi);
  return made;
}

class FallbackTest : public CardTest {
 protected:
  void ExpectGoesOn(const DirectCard::Faults& faults, bool card_is_there, const char* why) {
    SCOPED_TRACE(why);
    const auto checkpoint = Open(kTinyInt8);
    for (const bool traced : {false, true}) {
      for (const size_t step : {size_t{1}, size_t{3}}) {
        const auto made = Make(checkpoint, faults, card_is_there);
        ExpectSameBits(Forward(*made->phi, kIds, step, traced), Forward(*OnCpu(checkpoint), kIds, step, traced));
        ASSERT_EQ(made->notices.size(), 1U);
        EXPECT_NE(made->notices[0].find(why), std::string::npos) << made->notices[0];
        EXPECT_NE(made->backend->Use().fallback.find(why), std::string::npos);
        EXPECT_TRUE(made->backend->Describe().starts_with("cpu")) << made->backend->Describe();
      }
    }
  }
};

TEST_F(FallbackTest, WhereThereIsNoCard) {
  ExpectGoesOn({}, false, "no card");
}

TEST_F(FallbackTest, WhereABankIsFull) {
  ExpectGoesOn({.full_bank = "HBM[0]"}, true, "HBM[0]: no room");
  ExpectGoesOn({.full_bank = "HBM[20]"}, true, "no room for keys of layer 0");
}

TEST_F(FallbackTest, InTheMiddleOfAText) {
  for (const int64_t after : {0, 4, 13}) {
    ExpectGoesOn({.error_unit = "fc2", .after = after}, true, "fc2, layer");
    ExpectGoesOn({.hang_unit = "attention", .after = after}, true, "nothing has ended");
  }
}

TEST_F(FallbackTest, NotWhereTheCardWorks) {
  const auto checkpoint = Open(kTinyInt8);
  const auto made = Make(checkpoint, {});
  ExpectSameBits(Forward(*made->phi, kIds, 2, true), Forward(*OnCpu(checkpoint), kIds, 2, true));
  EXPECT_TRUE(made->notices.empty());
  EXPECT_EQ(made->backend->Use().fallback, "");
}

TEST_F(FallbackTest, EverySequenceGoesOn) {
  const auto checkpoint = Open(kTinyInt8);
  const auto both = [](Phi& phi) {
    auto a = phi.NewKvCache(8);
    auto b = phi.NewKvCache(6);
    std::vector<float> out;
    for (int32_t pos = 0; pos < 6; ++pos) {
      // b's third position is computed again, as after a rejected draft.
      const std::vector<StepRow> rows = {
          {.token = 3 + pos, .pos = pos, .kv = a->store(), .wants_logits = true},
          {.token = 9 * pos, .pos = std::min(pos, 2), .kv = b->store(), .wants_logits = true}};
      const auto logits = phi.Step(rows);
      EXPECT_TRUE(logits.ok()) << logits.status().message();
      out.insert(out.end(), logits->begin(), logits->end());
    }
    return Trace{{"logits", out}};
  };
  const Trace expected = both(*OnCpu(checkpoint));
  for (const int64_t after : {7, 19, 31}) {
    const auto made = Make(checkpoint, {.error_unit = "k", .after = after});
    ExpectSameBits(both(*made->phi), expected);
    EXPECT_EQ(made->notices.size(), 1U);
  }
}

TEST_F(FallbackTest, NotForWhatTheCallerDidWrong) {
  const auto made = Make(Open(kTinyInt8), {});
  auto cache = made->phi->NewKvCache(2);
  const std::vector<StepRow> rows = {{.token = 100000, .pos = 0, .kv = cache->store(), .wants_logits = true}};
  EXPECT_EQ(made->phi->Step(rows).status().code(), StatusCode::kInvalidArgument);
  EXPECT_TRUE(made->notices.empty());
}

}  // namespace
}  // namespace phidias::fpga
