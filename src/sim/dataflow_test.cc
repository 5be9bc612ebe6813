// The engine on regions small enough to work out by hand.

#include "sim/dataflow.h"

#include <gtest/gtest.h>

namespace phidias::sim {
namespace {

constexpr double kMhz = 250;  // 4 ns a cycle

// Two stages and a stream: `put` cycles to make an element, `take` to use it.
RegionSpec TwoStages(int64_t count, int64_t put, int64_t take, int64_t depth) {
  RegionSpec region{"pair", kMhz, {{"between", depth}}, {}, {}};
  region.stages.push_back({"Make", {{{{.steps = count, .cycles = put, .puts = {{0, 1}}}}, 1}}});
  region.stages.push_back({"Use", {{{{.steps = count, .cycles = take, .takes = {{0, 1}}}}, 1}}});
  return region;
}

struct Outcome {
  double cycles = 0;
  std::vector<StageCounts> stages;
};
Outcome RunAlone(const RegionSpec& region) {
  const Status checked = CheckRegion(region);
  EXPECT_TRUE(checked.ok()) << checked.message();
  Memories memories(Parameters(), 32);
  Engine engine(&memories);
  engine.Start(std::make_shared<const RegionSpec>(region), 0);
  const Result<Engine::End> end = engine.RunUntilEnd();
  EXPECT_TRUE(end.ok()) << end.status().message();
  return end.ok() ? Outcome{ToSeconds(end->time) * region.mhz * 1e6, engine.stages(end->region)} : Outcome();
}

TEST(Dataflow, TheSlowerStageDecides) {
  EXPECT_NEAR(RunAlone(TwoStages(100, 5, 2, 8)).cycles, 100 * 5 + 2, 1e-6);
  EXPECT_NEAR(RunAlone(TwoStages(100, 2, 5, 8)).cycles, 2 + 100 * 5, 1e-6);
}

TEST(Dataflow, AFullStreamHoldsItsProducerBack) {
  const Outcome outcome = RunAlone(TwoStages(100, 2, 5, 8));
  EXPECT_GT(outcome.stages[0].waits_for_output, 0);
  EXPECT_EQ(outcome.stages[0].worst_stream, "between");
  EXPECT_EQ(outcome.stages[0].busy, FromNs(100 * 2 * 4));
  // The producer may be the depth, the element in its hands and the one that the consumer has taken ahead.
  Memories memories(Parameters(), 1);
  Engine engine(&memories);
  engine.WatchStage(0);
  engine.Start(std::make_shared<const RegionSpec>(TwoStages(100, 2, 5, 8)), 0);
  ASSERT_TRUE(engine.RunUntilEnd().ok());
  EXPECT_EQ(engine.block_ends().front(), FromNs(4.0 * (2 + (100 - 1 - 8) * 5)));
}

TEST(Dataflow, ADeepStreamLetsAProducerRunAhead) {
  // Bursts of ten elements at the end of a long wait: with room for them the consumer never stops.
  RegionSpec region{"bubble", kMhz, {{"ahead", 64}}, {}, {}};
  region.stages.push_back({"Make", {{{{.steps = 10, .cycles = 1, .drain = 90, .puts = {{0, 1}}}}, 20}}});
  region.stages.push_back({"Use", {{{{.steps = 200, .cycles = 10, .takes = {{0, 1}}}}, 1}}});
  const double deep = RunAlone(region).cycles;
  region.streams[0].depth = 1;
  const double shallow = RunAlone(region).cycles;
  EXPECT_NEAR(deep, 2001, 10);
  EXPECT_GT(shallow, 1.4 * deep);
}

// A reconvergent pair: B wants all of A's first stream before the first element of its second.
TEST(Dataflow, DeadlockNamesTheStreams) {
  RegionSpec region{"fork", kMhz, {{"wide", 4}, {"late", 4}}, {}, {}};
  region.stages.push_back({"Fork", {{{{.steps = 8, .cycles = 1, .puts = {{0, 1}, {1, 1}}}}, 1}}});
  region.stages.push_back(
      {"Join", {{{{.steps = 8, .cycles = 1, .takes = {{0, 1}}}, {.steps = 8, .cycles = 1, .takes = {{1, 1}}}}, 1}}});
  ASSERT_TRUE(CheckRegion(region).ok());
  Memories memories(Parameters(), 1);
  Engine engine(&memories);
  engine.Start(std::make_shared<const RegionSpec>(region), 0);
  const Status status = engine.RunUntilEnd().status();
  EXPECT_EQ(status.message(),
            "fork: the streams stall: Fork waits for room in \"late\" (4 of 4 elements), Join waits for stream "
            "\"wide\" (0 of 4 elements)");
  region.streams[1].depth = 8;
  EXPECT_NEAR(RunAlone(region).cycles, 9 + 8, 1e-6);
}

TEST(Dataflow, APipelineRunsEmptyAfterEachRepeat) {
  RegionSpec region{"drain", kMhz, {}, {}, {}};
  region.stages.push_back({"Rows", {{{{.steps = 10, .cycles = 3, .drain = 7}}, 5}}});
  EXPECT_NEAR(RunAlone(region).cycles, 5 * (10 * 3 + 7), 1e-6);
}

RegionSpec Reader(int64_t bytes, int outstanding, int64_t width, MemoryTarget target) {
  RegionSpec region{"reader", kMhz, {{"words", 512}}, {{"in", target, width, outstanding}}, {}};
  StageSpec read{"Read", {{}}};
  AddBursts(region, 0, 0, bytes, false, 0, &read.blocks[0].loops);
  StageSpec use{"Use", {{}}};
  AddLoop({.cycles = 1, .takes = {{0, 1}}}, bytes / width, 64, &use.blocks[0].loops);
  region.stages = {read, use};
  return region;
}

TEST(Port, WidthOutstandingAndMemoryLimitAReader) {
  const int64_t bytes = int64_t{1} << 20;
  const Parameters p;
  const auto gbs = [bytes](const RegionSpec& region) {
    return static_cast<double>(bytes) / (RunAlone(region).cycles / kMhz * 1e-6) * 1e-9;
  };
  // 64 bytes a cycle are 16 GB/s: the channel decides.
  EXPECT_NEAR(gbs(Reader(bytes, 16, 64, {MemoryKind::kHbm, 3, 3})), StreamingGbs(p), 0.03 * StreamingGbs(p));
  // A byte a cycle.
  EXPECT_NEAR(gbs(Reader(bytes, 16, 1, {MemoryKind::kHbm, 3, 3})), 0.25, 0.01);
  // One burst of 4 KiB at a time: each waits for the whole latency.
  const double round_trip = p.hbm_path_ns + p.hbm_rcd_ns + p.hbm_cl_ns + 4096 / p.hbm_peak_gbs;
  EXPECT_NEAR(gbs(Reader(bytes, 1, 64, {MemoryKind::kHbm, 3, 3})), 4096 / round_trip, 0.1 * 4096 / round_trip);
  const Outcome outcome = RunAlone(Reader(bytes, 1, 64, {MemoryKind::kHbm, 3, 3}));
  EXPECT_GT(outcome.stages[0].waits_for_memory, outcome.stages[0].busy / 4);
}

TEST(Port, BurstsNeverCrossFourKilobytes) {
  const RegionSpec region{"", kMhz, {{"s", 512}}, {{"p", {}, 64, 16}}, {}};
  std::vector<LoopSpec> loops;
  AddBursts(region, 0, 4096 - 128, 10000, false, 0, &loops);
  int64_t bytes = 0;
  for (const LoopSpec& loop : loops) {
    for (int64_t i = 0; i < loop.steps; ++i) {
      const int64_t first = loop.address + i * loop.bytes;
      EXPECT_EQ(first / 4096, (first + loop.bytes - 1) / 4096);
      EXPECT_LE(loop.bytes, 4096);
      EXPECT_EQ(first, 4096 - 128 + bytes);
      bytes += loop.bytes;
    }
  }
  EXPECT_EQ(bytes, 10000);
  // An 8-bit port's bursts are 64 bytes.
  const RegionSpec narrow{"", kMhz, {{"s", 32768}}, {{"p", {}, 1, 16}}, {}};
  loops.clear();
  AddBursts(narrow, 0, 0, 640, false, 0, &loops);
  ASSERT_EQ(loops.size(), 1U);
  EXPECT_EQ(loops[0].bytes, 64);
}

TEST(Port, ReadsRunAheadOnlyWhereTheReaderIsItsOwn) {
  // Four loops of one burst each, with work between them.
  RegionSpec region{"ahead", kMhz, {}, {{"p", {MemoryKind::kHbm, 0, 0}, 64, 16}}, {}};
  LoopSpec read{.steps = 1, .cycles = 64};
  read.port = 0;
  read.bytes = 4096;
  region.stages.push_back({"Read", {{{read, {.steps = 1, .cycles = 100}}, 8}}});
  const double in_order = RunAlone(region).cycles;
  region.ports[0].runs_ahead = true;
  const double ahead = RunAlone(region).cycles;
  const Parameters p;
  const double latency = (p.hbm_path_ns + p.hbm_rcd_ns + p.hbm_cl_ns) * kMhz * 1e-3;
  EXPECT_GT(in_order - ahead, 7 * latency);
}

TEST(Dataflow, TwoRegionsShareAChannel) {
  const int64_t bytes = int64_t{1} << 20;
  const auto region = std::make_shared<const RegionSpec>(Reader(bytes, 16, 64, {MemoryKind::kHbm, 3, 3}));
  Memories memories(Parameters(), 32);
  Engine engine(&memories);
  engine.Start(region, 0);
  engine.Start(region, 0);
  ASSERT_TRUE(engine.RunUntilEnd().ok());
  const Result<Engine::End> end = engine.RunUntilEnd();
  ASSERT_TRUE(end.ok());
  const double alone = RunAlone(*region).cycles / kMhz * 1e-6;
  EXPECT_NEAR(ToSeconds(end->time), 2 * alone, 0.05 * alone);
  EXPECT_FALSE(engine.RunUntilEnd().ok());
}

TEST(Dataflow, RegionsThatCannotBe) {
  const auto message = [](const RegionSpec& region) { return CheckRegion(region).message(); };
  RegionSpec region = TwoStages(4, 1, 1, 8);
  region.stages[1].blocks[0].loops[0].steps = 3;
  EXPECT_EQ(message(region), "pair: 4 elements go into stream \"between\" and 3 come out");
  region = TwoStages(4, 1, 1, 8);
  region.stages[0].blocks[0].loops[0].puts[0].elements = 9;
  EXPECT_NE(message(region).find("moves 9 elements through stream \"between\", which holds 8"), std::string::npos);
  region = TwoStages(4, 1, 1, 8);
  region.stages.pop_back();
  EXPECT_NE(message(region).find("1 producers and 0 consumers"), std::string::npos);
  region = TwoStages(4, 1, 1, 8);
  region.stages[0].blocks[0].loops[0].puts[0].stream = 7;
  EXPECT_NE(message(region).find("uses stream 7 of 1"), std::string::npos);
  region = Reader(8192, 16, 64, {});
  region.stages[0].blocks[0].loops[0].address = 64;
  EXPECT_NE(message(region).find("crosses 4096 bytes"), std::string::npos);
  region.mhz = 0;
  EXPECT_NE(message(region).find("0 MHz"), std::string::npos);
}

}  // namespace
}  // namespace phidias::sim
