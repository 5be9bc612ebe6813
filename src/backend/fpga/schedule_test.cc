// The graph of a token: which node waits for which, and that it comes to its end in whatever order runs end. The units
// that the plan takes to run at the same time are those of nodes without a path between them.

#include "backend/fpga/schedule.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

#include "backend/fpga/placement.h"

namespace phidias::fpga {
namespace {

enum : int32_t { kX, kH, kQ, kK, kV, kAtt, kAttOut, kFf, kGelu, kMlpOut, kLast, kLogits };

// As model/phi.cc has them.
Schedule TwoLayers(ScheduleOrder order) {
  Schedule schedule(order);
  const auto add = [&schedule](CardOp op, int64_t layer, std::string_view unit, std::array<int32_t, 3> reads,
                               int32_t writes, bool logits = false) {
    schedule.Add(
        {.op = op, .layer = layer, .unit = unit, .reads = reads, .writes = writes, .logit_rows = logits, .after = {}});
  };
  constexpr int32_t kNone = kNoActivation;
  for (int64_t layer = 0; layer < 2; ++layer) {
    add(CardOp::kLayerNorm, layer, "layernorm", {kX, kNone, kNone}, kH);
    add(CardOp::kQ, layer, "q", {kH, kNone, kNone}, kQ);
    add(CardOp::kK, layer, "k", {kH, kNone, kNone}, kK);
    add(CardOp::kV, layer, "v", {kH, kNone, kNone}, kV);
    add(CardOp::kAttention, layer, "attention", {kQ, kK, kV}, kAtt);
    add(CardOp::kDense, layer, "q", {kAtt, kNone, kNone}, kAttOut);
    add(CardOp::kFc1, layer, "fc1", {kH, kNone, kNone}, kFf);
    add(CardOp::kGelu, layer, "gelu", {kFf, kNone, kNone}, kGelu);
    add(CardOp::kFc2, layer, "fc2", {kGelu, kNone, kNone}, kMlpOut);
    add(CardOp::kResidual, layer, "residual", {kAttOut, kMlpOut, kX}, kX);
  }
  add(CardOp::kLayerNorm, kFinalNorm, "layernorm", {kX, kNone, kNone}, kLast, true);
  add(CardOp::kLmHead, 0, "lm_head", {kLast, kNone, kNone}, kLogits, true);
  return schedule;
}

using Ids = std::vector<int32_t>;

TEST(Schedule, NodesWaitForWhatTheyReadAndOverwrite) {
  const Schedule schedule = TwoLayers(ScheduleOrder::kParallel);
  const auto& nodes = schedule.nodes();
  EXPECT_EQ(nodes[0].after, Ids{});
  EXPECT_EQ(nodes[1].after, Ids{0});
  EXPECT_EQ(nodes[3].after, Ids{0});
  EXPECT_EQ(nodes[4].after, (Ids{1, 2, 3}));
  EXPECT_EQ(nodes[5].after, Ids{4});
  EXPECT_EQ(nodes[6].after, Ids{0}) << "fc1 goes beside attention";
  EXPECT_EQ(nodes[9].after, (Ids{0, 5, 8})) << "x is overwritten: its reader, the layernorm, is done";
  EXPECT_EQ(nodes[10].after, (Ids{0, 1, 2, 3, 6, 9})) << "h is overwritten";
  EXPECT_EQ(nodes[21].after, Ids{20});
}

TEST(Schedule, SequentialIsAChain) {
  const Schedule schedule = TwoLayers(ScheduleOrder::kSequential);
  for (size_t i = 1; i < schedule.nodes().size(); ++i) {
    EXPECT_EQ(schedule.nodes()[i].after, Ids{static_cast<int32_t>(i) - 1});
  }
}

TEST(Schedule, ComesToItsEndInEveryOrder) {
  std::mt19937 random(3);
  for (const bool logits : {true, false}) {
    for (const ScheduleOrder order : {ScheduleOrder::kParallel, ScheduleOrder::kSequential}) {
      const Schedule schedule = TwoLayers(order);
      for (int trial = 0; trial < 50; ++trial) {
        ScheduleRun run(schedule, logits);
        std::set<int32_t> ended;
        Ids in_flight;
        while (!run.done()) {
          for (int32_t node = run.Next(); node >= 0; node = run.Next()) {
            for (const int32_t before : schedule.nodes()[static_cast<size_t>(node)].after) {
              EXPECT_TRUE(ended.contains(before));
            }
            in_flight.push_back(node);
          }
          ASSERT_FALSE(in_flight.empty());
          std::swap(in_flight[random() % in_flight.size()], in_flight.back());
          ended.insert(in_flight.back());
          run.Finish(in_flight.back());
          in_flight.pop_back();
        }
        EXPECT_EQ(ended.size(), logits ? 22U : 20U);
      }
    }
  }
}

TEST(Schedule, UnitsThatMayRunTogetherAreThoseWithoutAPath) {
  const Schedule schedule = TwoLayers(ScheduleOrder::kParallel);
  const auto& nodes = schedule.nodes();
  std::vector<std::set<int32_t>> before(nodes.size());  // everything that has ended when a node starts
  for (size_t i = 0; i < nodes.size(); ++i) {
    for (const int32_t direct : nodes[i].after) {
      before[i].insert(direct);
      before[i].insert(before[static_cast<size_t>(direct)].begin(), before[static_cast<size_t>(direct)].end());
    }
  }
  std::set<std::pair<std::string_view, std::string_view>> together;
  for (size_t i = 0; i < nodes.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      if (!before[i].contains(static_cast<int32_t>(j))) {
        EXPECT_NE(nodes[i].unit, nodes[j].unit) << "a unit runs one thing at a time";
        together.insert({nodes[i].unit, nodes[j].unit});
        together.insert({nodes[j].unit, nodes[i].unit});
      }
    }
  }
  for (const ScheduleNode& a : nodes) {
    for (const ScheduleNode& b : nodes) {
      EXPECT_EQ(MayRunTogether(a.unit, b.unit), together.contains({a.unit, b.unit})) << a.unit << " " << b.unit;
    }
  }
}

TEST(HostOps, NamesAndSets) {
  const auto ops = ParseHostOps("lm_head,linear,gelu");
  ASSERT_TRUE(ops.ok());
  EXPECT_TRUE(ops->Has(CardOp::kFc2));
  EXPECT_TRUE(ops->Has(OpOf(LinearRole::kLmHead)));
  EXPECT_FALSE(ops->Has(CardOp::kAttention));
  EXPECT_EQ(ToString(*ops), "q,k,v,dense,fc1,fc2,lm_head,gelu");
  EXPECT_TRUE(ParseHostOps("")->empty());
  for (const char* bad : {"lmhead", "gelu,", ",", "gelu gelu", "Q"}) {
    EXPECT_FALSE(ParseHostOps(bad).ok()) << bad;
  }
  EXPECT_NE(ParseHostOps("norm").status().message().find("layernorm"), std::string::npos);
}

}  // namespace
}  // namespace phidias::fpga
