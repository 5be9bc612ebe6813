#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <queue>
#include <string>
#include <utility>
#include <vector>

#include "common/status.h"
#include "sim/hbm.h"
#include "sim/time.h"

// Kernels as data, and their event-driven simulation. A region is what Vitis calls dataflow: stages that run side by
// side, joined by bounded streams, with AXI ports to memory. A stage is a list of pipelined loops.
namespace phidias::sim {

struct StreamSpec {
  std::string name;
  int64_t depth = 0;  // elements
};

struct Transfer {
  int stream = 0;
  int64_t elements = 0;  // of each step
};

// A pipelined loop: `steps` times `cycles` (interval x iterations that are taken together). A step takes all its inputs
// before it begins and puts its outputs when it ends.
struct LoopSpec {
  int64_t steps = 1;
  int64_t cycles = 0;
  int64_t drain = 0;  // cycles after the last step until the next loop may begin: the pipeline's depth
  std::vector<Transfer> takes = {};
  std::vector<Transfer> puts = {};
  int port = -1;      // of the region's ports: each step moves one burst
  int64_t bytes = 0;  // of the burst
  bool write = false;
  int64_t address = 0;             // of the first step; the others follow
  int64_t address_per_repeat = 0;  // added for each repeat of the block
  const char* what = "";           // for a time line
};

// Loops one after the other, and all of them again: the heads of attention, the groups of a matrix's rows.
struct BlockSpec {
  std::vector<LoopSpec> loops;
  int64_t repeats = 1;
};

struct StageSpec {
  std::string name;
  std::vector<BlockSpec> blocks;
};

struct PortSpec {
  std::string name;
  MemoryTarget target;
  int64_t width_bytes = 64;
  int outstanding = 16;  // bursts between request and use (reads), or between write and response
  // Reads of later loops are requested while an earlier loop runs: a reader of its own with fixed addresses. Otherwise
  // a loop's reads begin with it, as in Vitis.
  bool runs_ahead = false;
};

struct RegionSpec {
  std::string name;
  double mhz = 0;
  std::vector<StreamSpec> streams;
  std::vector<PortSpec> ports;
  std::vector<StageSpec> stages;
};

// Appends `iterations` of `loop` (whose steps stand for one iteration), `grain` of them to a step, with what is left in
// a smaller last step.
void AddLoop(const LoopSpec& loop, int64_t iterations, int64_t grain, std::vector<LoopSpec>* loops);
// Appends a read, or write, of `bytes` in bursts of at most `burst`, that never cross 4 KiB; a beat a cycle. Each beat
// is put to (taken from) `stream`; -1: none.
void AddBursts(const RegionSpec& region, int port, int64_t address, int64_t bytes, bool write, int stream,
               std::vector<LoopSpec>* loops);

// Errors: an index that names nothing, a step that a stream's depth can't hold, a stream without exactly one producer
// and one consumer, different numbers of elements put and taken, a burst that crosses 4 KiB.
Status CheckRegion(const RegionSpec& region);

struct StageCounts {
  Time busy = 0;
  Time waits_for_input = 0;
  Time waits_for_output = 0;
  Time waits_for_memory = 0;
  std::string worst_stream;  // the one that it waited for longest
};

// Loops of the same name that a stage ran one behind the other: from the first step's inputs to the last one's outputs.
struct LoopRun {
  int stage = 0;
  std::string what;
  Time begin = 0;
  Time end = 0;
};

// Runs regions side by side in one card's time.
class Engine {
 public:
  explicit Engine(Memories* memories);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // From `at` on, which isn't in the past. `spec` has passed CheckRegion. Returns its number.
  int Start(std::shared_ptr<const RegionSpec> spec, Time at);

  struct End {
    int region = -1;
    Time time = 0;
  };
  // Runs until the next region ends. Error: the streams of one stall for good; the message says which stage waits for
  // which stream. InvalidArgument if none runs.
  Result<End> RunUntilEnd();

  // Of a region that ended: by stage.
  const std::vector<StageCounts>& stages(int region) const;
  // When the stage that WatchStage named came to the end of each of its blocks.
  void WatchStage(int stage) { watched_stage_ = stage; }
  const std::vector<Time>& block_ends() const { return block_ends_; }
  // Keeps the named loops of these stages in one repeat of the blocks that have so many.
  void TraceStages(std::vector<int> stages, int64_t repeat) {
    traced_stages_ = std::move(stages);
    traced_repeat_ = repeat;
  }
  const std::vector<LoopRun>& loop_runs() const { return loop_runs_; }
  int64_t events() const { return events_; }

 private:
  struct Region;
  enum class EventKind : uint8_t { kLook, kStepEnd, kDrained, kArrival, kRegionEnd };
  struct Event {
    Time time;
    int64_t order;
    int region;
    int stage;
    EventKind kind;
    bool operator>(const Event& other) const { return time != other.time ? time > other.time : order > other.order; }
  };
  struct Stage;

  void Push(Time time, int region, int stage, EventKind kind);
  void Advance(Region* region, int index);
  bool TryBegin(Region* region, int index);
  bool TryEnd(Region* region, int index);
  void RequestReads(Region* region, int index);
  void Next(Region* region, int index);
  void Trace(const Stage& stage, int index);
  void BeginWait(Stage* stage, bool memory, bool output, int stream);
  void EndWait(Stage* stage);
  void Handle(const Event& event, Region* region);
  static void Finish(Region* region);
  std::string StallText(const Region& region) const;

  Memories& memories_;
  std::vector<std::unique_ptr<Region>> regions_;
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events_queue_;
  std::vector<int> ready_;  // stages of the current region to look at
  Time now_ = 0;
  int64_t order_ = 0;
  int64_t events_ = 0;
  int running_ = 0;
  int watched_stage_ = -1;
  std::vector<Time> block_ends_;
  std::vector<int> traced_stages_;
  int64_t traced_repeat_ = -1;
  std::vector<LoopRun> loop_runs_;
};

}  // namespace phidias::sim
