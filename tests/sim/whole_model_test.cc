// A token of Phi-2 on both designs: by events against the closed form, the parts of its time, the bands, and every row
// of the validation table. The schedule is the one that the model's own forward pass records.

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "common/file.h"
#include "engine/token_schedule.h"
#include "model/phi.h"
#include "quant/synthetic.h"
#include "sim/prediction.h"
#include "sim/report_token.h"
#include "sim/validation.h"

namespace phidias {
namespace {

using fpga::CardOp;
using fpga::ScheduleOrder;

fpga::TokenSchedule Token(ScheduleOrder order = ScheduleOrder::kParallel, fpga::HostOps host_ops = {}) {
  Result<fpga::TokenSchedule> token = RecordTokenSchedule(*PresetShape("phi-2"), order, host_ops);
  EXPECT_TRUE(token.ok()) << token.status().message();
  return *std::move(token);
}

fpga::HbmPlacement Place() {
  Result<fpga::HbmPlacement> placement = fpga::PlanPlacement(ShapeOf(*PresetShape("phi-2")), hls::kReportDesign, {});
  EXPECT_TRUE(placement.ok()) << placement.status().message();
  return *std::move(placement);
}

fpga::HostOps Head() {
  fpga::HostOps ops;
  ops.Add(CardOp::kLmHead);
  return ops;
}

TEST(TokenSchedule, IsWhatTheModelDoes) {
  const fpga::TokenSchedule token = Token();
  const std::vector<fpga::ScheduleNode>& nodes = token.schedule.nodes();
  ASSERT_EQ(nodes.size(), 32U * 10 + 2);
  EXPECT_EQ(fpga::NodeText(nodes[0]), "layernorm, layer 0");
  EXPECT_EQ(fpga::NodeText(nodes.back()), "lm_head");
  EXPECT_TRUE(nodes.back().logit_rows);
  EXPECT_EQ(token.cols[static_cast<size_t>(nodes.back().writes)], 51200);
  EXPECT_EQ(token.cols[static_cast<size_t>(token.embedded)], 2560);
  EXPECT_EQ(nodes[0].reads[0], token.embedded);
  EXPECT_FALSE(Token(ScheduleOrder::kParallel, Head()).schedule.nodes().back().on_card());
}

TEST(ReportToken, ClosedFormAgainstEvents) {
  const fpga::HbmPlacement placement = Place();
  for (const ScheduleOrder order : {ScheduleOrder::kParallel, ScheduleOrder::kSequential}) {
    const fpga::TokenSchedule token = Token(order);
    Result<sim::ReportSimulator> simulator = sim::ReportSimulator::Create(token, placement, {});
    ASSERT_TRUE(simulator.ok()) << simulator.status().message();
    const Result<sim::TokenTiming> events = simulator->Run({.position = 511});
    const Result<sim::TokenTiming> closed = simulator->Run({.position = 511, .events = false});
    ASSERT_TRUE(events.ok()) << events.status().message();
    ASSERT_TRUE(closed.ok()) << closed.status().message();
    EXPECT_NEAR(closed->seconds, events->seconds, 0.05 * events->seconds);
    // A few million events: seconds of one core at the most.
    EXPECT_LT(events->events, 8'000'000);
    EXPECT_NEAR(events->kernels + events->starts + events->host, events->seconds, 1e-3 * events->seconds);
    // Every packed weight once, and the caches.
    const int64_t kv = 2 * int64_t{32} * 2560 * 4;
    EXPECT_EQ(events->hbm_bytes, placement.weight_bytes() + 511 * kv + kv);
    EXPECT_EQ(events->by_kernel.size(), 11U);
  }
}

TEST(ReportToken, ParallelIsFasterAndStartsCost) {
  const fpga::HbmPlacement placement = Place();
  const auto seconds = [&placement](ScheduleOrder order, const sim::Parameters& parameters) {
    const fpga::TokenSchedule token = Token(order);
    Result<sim::ReportSimulator> simulator = sim::ReportSimulator::Create(token, placement, parameters);
    return simulator->Run({.position = 100, .events = false})->seconds;
  };
  const double parallel = seconds(ScheduleOrder::kParallel, {});
  EXPECT_LT(parallel, 0.8 * seconds(ScheduleOrder::kSequential, {}));
  sim::Parameters slow;
  slow.start_dependent_us += 1000;
  // A layer's chain: layernorm, fc1, gelu, fc2, residual.
  EXPECT_NEAR(seconds(ScheduleOrder::kParallel, slow) - parallel, 32 * 5 * 1e-3, 32 * 1e-3);
}

TEST(ReportToken, PromptsSkipLmHeadAndFetchEverything) {
  const fpga::HbmPlacement placement = Place();
  const fpga::TokenSchedule token = Token();
  Result<sim::ReportSimulator> simulator = sim::ReportSimulator::Create(token, placement, {});
  const double decode = simulator->Run({.position = 100, .events = false})->seconds;
  const Result<sim::TokenTiming> prompt =
      simulator->Run({.position = 100, .events = false, .logits = false, .prompt = true});
  EXPECT_LT(prompt->seconds, decode);
  for (const sim::KernelTiming& kernel : prompt->by_kernel) {
    EXPECT_NE(kernel.kernel, "lm_head");
  }
}

TEST(Prediction, BandsHoldTheirValue) {
  const fpga::Card& card = *fpga::FindCard("u280");
  const ModelShape shape = ShapeOf(*PresetShape("phi-2"));
  for (const auto& model : {sim::MakeReportModel(Token(), Place()), sim::MakeTiledModel({}, shape, card)}) {
    const Result<sim::Prediction> p = sim::Predict(*model, 512, false, {}, card);
    ASSERT_TRUE(p.ok()) << p.status().message();
    for (const sim::Band& band : {p->decode, p->prefill, p->board_watts, p->tokens_per_joule}) {
      EXPECT_LT(band.low, band.value) << model->name();
      EXPECT_GT(band.high, band.value) << model->name();
    }
    EXPECT_LT(p->hbm_gbs, p->hbm_peak_gbs);
    EXPECT_GT(p->energy.board_watts, p->energy.chip_watts) << "a board is more than its chip";
    EXPECT_LT(p->resources.tightest_share, 1);
  }
}

TEST(Validation, EveryRowHolds) {
  const sim::WholeModelTokens tokens = {Token(), Token(ScheduleOrder::kSequential),
                                        Token(ScheduleOrder::kParallel, Head()),
                                        Token(ScheduleOrder::kSequential, Head())};
  const Result<std::vector<sim::ValidationRow>> rows = sim::Validate(tokens, Place(), {});
  ASSERT_TRUE(rows.ok()) << rows.status().message();
  std::map<std::string, int> compared;
  for (const sim::ValidationRow& row : *rows) {
    EXPECT_TRUE(row.holds()) << row.group << ", " << row.what << ": " << row.model << " (" << row.low << "-" << row.high
                             << ") against " << row.published;
    compared[row.group] += row.basis == sim::Basis::kNotFound ? 0 : 1;
    EXPECT_TRUE(row.basis == sim::Basis::kNotFound || !row.source.empty()) << row.what;
  }
  EXPECT_EQ(compared["table 6"], 20);
  EXPECT_EQ(compared["table 7"], 2);
  EXPECT_EQ(compared["whole model"], 1);
  EXPECT_EQ(compared["HBM"], 23);
  const Result<std::string> page = ReadFile(PHIDIAS_SOURCE_DIR "/docs/timing-model.md", size_t{1} << 20);
  ASSERT_TRUE(page.ok()) << page.status().message();
  EXPECT_NE(page->find(sim::ValidationMarkdown(*rows)), std::string::npos)
      << "the page's table is another: phidias simulate --validate --markdown";
  // What must not hold: another memory.
  sim::Parameters slow;
  slow.hbm_path_ns = 400;
  const Result<std::vector<sim::ValidationRow>> wrong = sim::Validate(tokens, Place(), slow);
  ASSERT_TRUE(wrong.ok());
  EXPECT_TRUE(std::any_of(wrong->begin(), wrong->end(), [](const sim::ValidationRow& row) { return !row.holds(); }));
}

}  // namespace
}  // namespace phidias
