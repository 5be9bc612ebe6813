// The FPGA back end over the kernels themselves (tests/support/direct_card.h, no XRT): bits against the CPU back end's,
// and what happens when packed model or card are not as they should be.

#include "backend/fpga/fpga_backend.h"

#include <fstream>

#include "backend/fpga/packer.h"
#include "engine/card_weights.h"
#include "tests/fpga/fpga_test_util.h"

namespace phidias::fpga {
namespace {

struct OnCard {
  Result<std::unique_ptr<Phi>> phi = Status();
  CardBackend* backend = nullptr;
};

OnCard MakeOnCard(const std::shared_ptr<const Checkpoint>& checkpoint, CardOptions options,
                  const DirectCard::Faults& faults = {}) {
  OnCard made;
  auto backend =
      CreateFpgaBackend(ShapeOf(checkpoint->config), options,
                        [faults](const HbmPlacement& placement) -> Result<std::unique_ptr<CardDevice>> {
                          return std::unique_ptr<CardDevice>(std::make_unique<DirectCard>(placement.link, faults));
                        });
  EXPECT_TRUE(backend.ok()) << backend.status().message();
  made.backend = backend->get();
  made.phi = Phi::Create(checkpoint, *std::move(backend));
  return made;
}

using FpgaBackendTest = CardTest;

TEST_F(FpgaBackendTest, SameBitsAsTheCpuHoweverItIsScheduled) {
  const auto checkpoint = Open(kTinyInt8);
  const Trace expected = Forward(*OnCpu(checkpoint), kIds, 3, true);
  for (const ScheduleOrder order : {ScheduleOrder::kParallel, ScheduleOrder::kSequential}) {
    for (const size_t step : {size_t{1}, size_t{3}, kIds.size()}) {
      OnCard card = MakeOnCard(checkpoint, {.order = order});
      ASSERT_TRUE(card.phi.ok()) << card.phi.status().message();
      ExpectSameBits(Forward(**card.phi, kIds, step, true), expected);
      ExpectSameBits({{"step", Forward(**card.phi, kIds, step, false)["step"]}}, {{"step", expected.at("step")}});
    }
  }
}

TEST_F(FpgaBackendTest, SameBitsWhateverTheHostDoes) {
  const auto checkpoint = Open(kTinyInt8);
  const Trace expected = Forward(*OnCpu(checkpoint), kIds, 1, true);
  for (const char* ops : {"lm_head", "layernorm,gelu", "attention", "linear", "residual,dense,attention",
                          "linear,lm_head,layernorm,attention,gelu,residual"}) {
    SCOPED_TRACE(ops);
    OnCard card = MakeOnCard(checkpoint, {.host_ops = *ParseHostOps(ops)});
    ASSERT_TRUE(card.phi.ok()) << card.phi.status().message();
    ExpectSameBits(Forward(**card.phi, kIds, 2, true), Forward(*OnCpu(checkpoint), kIds, 2, true));
    ExpectSameBits({{"step", Forward(**card.phi, kIds, 1, false)["step"]}}, {{"step", expected.at("step")}});
  }
}

TEST_F(FpgaBackendTest, CountsItsRuns) {
  const auto checkpoint = Open(kTinyInt8);
  OnCard card = MakeOnCard(checkpoint, {});
  Forward(**card.phi, kIds, 1, false);
  const auto tokens = std::ssize(kIds);
  const int64_t layers = checkpoint->config.n_layers;
  const int64_t with_logits = tokens / 2;
  const std::map<std::string, int64_t> expected = {
      {"attention", tokens * layers}, {"fc1", tokens * layers},   {"fc2", tokens * layers},
      {"gelu", tokens * layers},      {"k", tokens * layers},     {"layernorm", tokens * layers + with_logits},
      {"lm_head", with_logits},       {"q", 2 * tokens * layers}, {"residual", tokens * layers},
      {"v", tokens * layers}};
  EXPECT_EQ(card.backend->Use().runs, expected);
}

TEST_F(FpgaBackendTest, SeveralSequencesInAStep) {
  const auto checkpoint = Open(kTinyInt8);
  const auto both = [&](Phi& phi) {
    auto a = phi.NewKvCache(8);
    auto b = phi.NewKvCache(5);
    std::vector<float> out;
    for (int32_t pos = 0; pos < 3; ++pos) {
      const std::vector<StepRow> rows = {{.token = 3 + pos, .pos = pos, .kv = a->store(), .wants_logits = true},
                                         {.token = 9 * pos, .pos = pos, .kv = b->store(), .wants_logits = true}};
      const auto logits = phi.Step(rows);
      EXPECT_TRUE(logits.ok()) << logits.status().message();
      out.insert(out.end(), logits->begin(), logits->end());
    }
    return Trace{{"logits", out}};
  };
  OnCard card = MakeOnCard(checkpoint, {});
  ExpectSameBits(both(**card.phi), both(*OnCpu(checkpoint)));
}

TEST_F(FpgaBackendTest, RefusesWhatTheDesignCantRunAndNamesTheWayOut) {
  const auto checkpoint = Open(kGolden + "tiny-phi2");  // float
  const OnCard refused = MakeOnCard(checkpoint, {});
  EXPECT_EQ(refused.phi.status().code(), StatusCode::kUnsupported);
  EXPECT_NE(refused.phi.status().message().find("model.layers.0.self_attn.q_proj"), std::string::npos)
      << refused.phi.status().message();
  EXPECT_NE(refused.phi.status().message().find("--host-ops q"), std::string::npos);
  OnCard card = MakeOnCard(checkpoint, {.host_ops = *ParseHostOps("linear")});
  ASSERT_TRUE(card.phi.ok()) << card.phi.status().message();
  ExpectSameBits(Forward(**card.phi, kIds, 1, true), Forward(*OnCpu(checkpoint), kIds, 1, true));
}

TEST_F(FpgaBackendTest, PacksOnceAndRepairsTheCache) {
  const auto checkpoint = Open(kTinyInt8);
  std::vector<std::string> notices;
  CardOptions options;
  options.notice = [&notices](const std::string& text) { notices.push_back(text); };
  const std::string path = MakeOnCard(checkpoint, options).backend->Use().packed;
  ASSERT_EQ(notices.size(), 1U);
  EXPECT_NE(notices[0].find("packing the model for design report, once, into " + path), std::string::npos);
  EXPECT_TRUE(MakeOnCard(checkpoint, options).phi.ok());
  EXPECT_EQ(notices.size(), 1U);
  {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(5000);
    file.put('\x7f');
  }
  EXPECT_TRUE(MakeOnCard(checkpoint, options).phi.ok());
  ASSERT_EQ(notices.size(), 3U);
  EXPECT_NE(notices[1].find("wrong checksum"), std::string::npos) << notices[1];
}

TEST_F(FpgaBackendTest, PackingGivesTheSameBytesWithAnyNumberOfThreads) {
  const auto checkpoint = Open(kTinyInt8);
  const CardWeights weights = CardWeightsOf(*checkpoint);
  const auto placing = CheckWeights(weights, {});
  ASSERT_TRUE(placing.ok());
  const auto placement = PlanPlacement(weights.shape, hls::kReportDesign, *placing);
  ASSERT_TRUE(placement.ok());
  std::vector<std::string> files;
  for (const int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    const std::string path = Scratch("packed");
    int64_t last = 0;
    const PackOptions options = {.cancel = nullptr, .progress = [&last](int64_t done, int64_t /*total*/) {
                                   EXPECT_GE(done, last);
                                   last = done;
                                 }};
    ASSERT_TRUE(PackModel(weights, *placement, path, &pool, options).ok());
    EXPECT_EQ(last, placement->packed_bytes());
    std::ifstream in(path, std::ios::binary);
    files.emplace_back(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
    unlink(path.c_str());
  }
  EXPECT_GT(files[0].size(), static_cast<size_t>(placement->packed_bytes()));
  EXPECT_TRUE(files[0] == files[1] && files[0] == files[2]);
}

TEST_F(FpgaBackendTest, AStoppedPackingLeavesNoFile) {
  const auto checkpoint = Open(kTinyInt8);
  const std::atomic<bool> cancel{true};
  const OnCard card = MakeOnCard(checkpoint, {.cancel = &cancel});
  EXPECT_EQ(card.phi.status().code(), StatusCode::kCancelled);
  EXPECT_NE(std::system(("test -n \"$(ls -A '" + cache_ + "')\"").c_str()), 0) << "the cache is empty";
}

TEST_F(FpgaBackendTest, RefusesAPackedModelThatIsBrokenOrAnothers) {
  const auto checkpoint = Open(kTinyInt8);
  const std::string path = MakeOnCard(checkpoint, {}).backend->Use().packed;
  const auto refused = [&](const std::string& packed) {
    CardOptions options;
    options.packed = packed;
    const OnCard card = MakeOnCard(checkpoint, options);
    EXPECT_EQ(card.phi.status().code(), StatusCode::kDataError);
    return card.phi.status().message();
  };
  std::ifstream in(path, std::ios::binary);
  const std::string good((std::istreambuf_iterator<char>(in)), {});
  const std::string bad = Scratch("bad");
  for (const size_t at : {size_t{40}, size_t{4095}, size_t{4096}, good.size() / 2, good.size() - 9, good.size() - 1}) {
    std::string flipped = good;
    flipped[at] = static_cast<char>(flipped[at] ^ 0x10);
    std::ofstream(bad, std::ios::binary) << flipped;
    EXPECT_NE(refused(bad).find("checksum"), std::string::npos) << at;
  }
  std::ofstream(bad, std::ios::binary) << good.substr(0, good.size() - 1);
  EXPECT_NE(refused(bad).find("cut off"), std::string::npos);
  unlink(bad.c_str());

  const auto other = Open(kGolden + "tiny-phi2");
  CardOptions options;
  options.host_ops = *ParseHostOps("linear");
  options.packed = path;
  const OnCard card = MakeOnCard(other, options);
  EXPECT_NE(card.phi.status().message().find("packed from another model"), std::string::npos);
}

TEST_F(FpgaBackendTest, AHangEndsInATimeOut) {
  const auto checkpoint = Open(kTinyInt8);
  OnCard card = MakeOnCard(checkpoint, {.timeout = std::chrono::milliseconds(120)}, {.hang_unit = "fc1", .after = 4});
  auto cache = (*card.phi)->NewKvCache(4);
  const std::vector<StepRow> first = {{.token = 1, .pos = 0, .kv = cache->store(), .wants_logits = true}};
  const std::vector<StepRow> second = {{.token = 1, .pos = 1, .kv = cache->store(), .wants_logits = true}};
  ASSERT_TRUE((*card.phi)->Step(first).ok());
  const Status status = (*card.phi)->Step(second).status();
  EXPECT_EQ(status.code(), StatusCode::kIoError);
  EXPECT_NE(status.message().find("fc1, layer 1"), std::string::npos) << status.message();
  EXPECT_NE(status.message().find("--card-timeout"), std::string::npos);
  EXPECT_EQ((*card.phi)->Step(second).status().message(), status.message()) << "and so does every later step";
}

TEST_F(FpgaBackendTest, AnErrorOfTheCardNamesTheRun) {
  const auto checkpoint = Open(kTinyInt8);
  OnCard card = MakeOnCard(checkpoint, {}, {.error_unit = "lm_head", .after = 0});
  auto cache = (*card.phi)->NewKvCache(4);
  const std::vector<StepRow> rows = {{.token = 1, .pos = 0, .kv = cache->store(), .wants_logits = true}};
  const Status status = (*card.phi)->Step(rows).status();
  EXPECT_EQ(status.code(), StatusCode::kIoError);
  EXPECT_EQ(card.backend->CardStatus().message(), status.message());
  EXPECT_NE(status.message().find("lm_head"), std::string::npos) << status.message();
}

TEST_F(FpgaBackendTest, ABankThatIsFullSaysWhatFor) {
  const auto checkpoint = Open(kTinyInt8);
  const OnCard card = MakeOnCard(checkpoint, {}, {.full_bank = "HBM[12]"});
  EXPECT_EQ(card.phi.status().code(), StatusCode::kResourceExhausted);
  EXPECT_NE(card.phi.status().message().find("HBM[12]"), std::string::npos);
  OnCard no_kv = MakeOnCard(checkpoint, {}, {.full_bank = "HBM[20]"});
  ASSERT_TRUE(no_kv.phi.ok());
  const auto cache = (*no_kv.phi)->NewKvCache(4);
  EXPECT_EQ(cache.status().code(), StatusCode::kResourceExhausted);
  EXPECT_NE(cache.status().message().find("keys of layer 0"), std::string::npos);
}

TEST_F(FpgaBackendTest, StopsWhereItIsToldTo) {
  const auto checkpoint = Open(kTinyInt8);
  std::atomic<bool> cancel{false};
  OnCard card = MakeOnCard(checkpoint, {.cancel = &cancel});
  auto cache = (*card.phi)->NewKvCache(4);
  const std::vector<StepRow> rows = {{.token = 1, .pos = 0, .kv = cache->store(), .wants_logits = true}};
  ASSERT_TRUE((*card.phi)->Step(rows).ok());
  cancel = true;
  EXPECT_EQ((*card.phi)->Step(rows).status().code(), StatusCode::kCancelled);
  cancel = false;
  EXPECT_TRUE((*card.phi)->Step(rows).ok()) << "the card is as good as before";
}

}  // namespace
}  // namespace phidias::fpga
