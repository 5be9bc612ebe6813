#include "sim/dataflow.h"

#include <algorithm>
#include <deque>
#include <utility>

#include "common/str.h"

namespace phidias::sim {
namespace {

constexpr int64_t kBurstBorder = 4096;  // AXI: a burst never crosses it
constexpr int64_t kMaxBeats = 64;       // of a burst, by the kernels' pragmas

enum class Wait : uint8_t { kNone, kInput, kOutput, kMemory };

}  // namespace

namespace {

// A place in a stage's blocks.
struct Cursor {
  size_t block = 0;
  int64_t repeat = 0;
  size_t loop = 0;
  int64_t step = 0;

  bool AtEnd(const StageSpec& spec) const { return block == spec.blocks.size(); }
  const LoopSpec& Loop(const StageSpec& spec) const { return spec.blocks[block].loops[loop]; }
  bool SameLoop(const Cursor& other) const {
    return block == other.block && repeat == other.repeat && loop == other.loop;
  }
  int64_t Address(const StageSpec& spec) const {
    const LoopSpec& at = Loop(spec);
    return at.address + at.address_per_repeat * repeat + at.bytes * step;
  }
  // Returns whether a block came to its end.
  bool NextLoop(const StageSpec& spec) {
    step = 0;
    if (++loop < spec.blocks[block].loops.size()) {
      return false;
    }
    loop = 0;
    if (++repeat < spec.blocks[block].repeats) {
      return false;
    }
    repeat = 0;
    ++block;
    SkipEmpty(spec);
    return true;
  }
  void SkipEmpty(const StageSpec& spec) {
    while (!AtEnd(spec) && (spec.blocks[block].loops.empty() || spec.blocks[block].repeats <= 0)) {
      ++block;
    }
  }
};

}  // namespace

struct Engine::Stage {
  const StageSpec* spec = nullptr;
  Cursor at;
  bool busy = false;   // a step runs
  bool ended = false;  // it ran, and its outputs aren't out yet
  bool draining = false;
  bool done = false;
  Cursor request;     // where reads are requested: at the step that runs, or ahead of it
  int requested = 0;  // bursts not yet used
  int arrived = 0;    // of those, how many are there
  Time last_arrival = 0;
  std::deque<Time> responses;  // of writes under way
  Wait wait = Wait::kNone;
  int wait_stream = -1;
  Time wait_since = 0;
  StageCounts counts;
  std::vector<Time> waited_for;  // by stream
};

struct Engine::Region {
  int number = 0;
  std::shared_ptr<const RegionSpec> spec;
  std::vector<Stage> stages;
  std::vector<int64_t> level;       // of streams
  std::vector<int> producer;        // stage, by stream
  std::vector<int> consumer;        //
  std::vector<StageCounts> counts;  // after the end
  int left = 0;
  Time last_response = 0;
  Time cycle_1000 = 0;  // of a thousand cycles

  Time Cycles(int64_t cycles) const { return cycles * cycle_1000 / 1000; }
};

Engine::Engine(Memories* memories) : memories_(*memories) {}

Engine::~Engine() = default;

void AddLoop(const LoopSpec& loop, int64_t iterations, int64_t grain, std::vector<LoopSpec>* loops) {
  const auto scaled = [&loop](int64_t by, int64_t steps) {
    LoopSpec result = loop;
    result.steps = steps;
    result.cycles *= by;
    for (std::vector<Transfer>* list : {&result.takes, &result.puts}) {
      for (Transfer& transfer : *list) {
        transfer.elements *= by;
      }
    }
    return result;
  };
  const int64_t whole = iterations / grain;
  const int64_t rest = iterations % grain;
  if (whole > 0) {
    loops->push_back(scaled(grain, whole));
    loops->back().drain = rest > 0 ? 0 : loop.drain;
  }
  if (rest > 0) {
    loops->push_back(scaled(rest, 1));
  }
}

void AddBursts(const RegionSpec& region, int port, int64_t address, int64_t bytes, bool write, int stream,
               std::vector<LoopSpec>* loops) {
  const int64_t width = region.ports[static_cast<size_t>(port)].width_bytes;
  int64_t burst = std::min(kBurstBorder, width * kMaxBeats);
  // A burst's beats trickle through a stream that is shallower: pieces of which two fit.
  while (stream >= 0 && burst > width && 2 * burst / width > region.streams[static_cast<size_t>(stream)].depth) {
    burst /= 2;
  }
  const auto add = [&](int64_t steps, int64_t each) {
    LoopSpec loop{.steps = steps, .cycles = (each + width - 1) / width};
    loop.port = port;
    loop.bytes = each;
    loop.write = write;
    loop.address = address;
    if (stream >= 0) {
      (write ? loop.takes : loop.puts).push_back({stream, loop.cycles});
    }
    loops->push_back(loop);
    address += steps * each;
    bytes -= steps * each;
  };
  if (const int64_t head = std::min(bytes, (burst - address % burst) % burst); head > 0) {
    add(1, head);
  }
  if (bytes >= burst) {
    add(bytes / burst, burst);
  }
  if (bytes > 0) {
    add(1, bytes);
  }
}

namespace {

Status CheckTransfers(const RegionSpec& region, const StageSpec& stage, const std::vector<Transfer>& transfers) {
  for (const Transfer& transfer : transfers) {
    if (transfer.stream < 0 || transfer.stream >= std::ssize(region.streams)) {
      return InvalidArgument(region.name, ": stage ", stage.name, " uses stream ", transfer.stream, " of ",
                             region.streams.size());
    }
    const StreamSpec& stream = region.streams[static_cast<size_t>(transfer.stream)];
    if (transfer.elements > stream.depth) {
      return InvalidArgument(region.name, ": a step of ", stage.name, " moves ", transfer.elements,
                             " elements through stream ", Quoted(stream.name), ", which holds ", stream.depth,
                             ": it would never run");
    }
  }
  return {};
}

Status CheckPort(const RegionSpec& region, const StageSpec& stage, const LoopSpec& loop) {
  if (loop.port < 0) {
    return {};
  }
  if (loop.port >= std::ssize(region.ports)) {
    return InvalidArgument(region.name, ": stage ", stage.name, " uses port ", loop.port, " of ", region.ports.size());
  }
  const bool crosses = loop.address % kBurstBorder + loop.bytes > kBurstBorder ||
                       (loop.steps > 1 && kBurstBorder % loop.bytes != 0) ||
                       (loop.steps > 1 && loop.address % loop.bytes != 0);
  if (loop.bytes <= 0 || crosses) {
    return InvalidArgument(region.name, ": stage ", stage.name, ", port ",
                           region.ports[static_cast<size_t>(loop.port)].name, ": a burst of ", loop.bytes, " bytes at ",
                           loop.address, " is empty or crosses ", kBurstBorder, " bytes");
  }
  return {};
}

struct StreamUse {
  int ends = 0;
  int64_t elements = 0;
};

}  // namespace

Status CheckRegion(const RegionSpec& region) {
  std::vector<StreamUse> put(region.streams.size());
  std::vector<StreamUse> taken(region.streams.size());
  if (region.mhz <= 0) {
    return InvalidArgument(region.name, ": the clock is ", region.mhz, " MHz");
  }
  for (const StageSpec& stage : region.stages) {
    std::vector<bool> puts_to(region.streams.size());
    std::vector<bool> takes_from(region.streams.size());
    for (const BlockSpec& block : stage.blocks) {
      for (const LoopSpec& loop : block.loops) {
        RETURN_IF_ERROR(CheckTransfers(region, stage, loop.takes));
        RETURN_IF_ERROR(CheckTransfers(region, stage, loop.puts));
        RETURN_IF_ERROR(CheckPort(region, stage, loop));
        const int64_t times = loop.steps * block.repeats;
        for (const Transfer& t : loop.puts) {
          put[static_cast<size_t>(t.stream)].elements += times * t.elements;
          puts_to[static_cast<size_t>(t.stream)] = true;
        }
        for (const Transfer& t : loop.takes) {
          taken[static_cast<size_t>(t.stream)].elements += times * t.elements;
          takes_from[static_cast<size_t>(t.stream)] = true;
        }
      }
    }
    for (size_t i = 0; i < region.streams.size(); ++i) {
      put[i].ends += puts_to[i] ? 1 : 0;
      taken[i].ends += takes_from[i] ? 1 : 0;
    }
  }
  for (size_t i = 0; i < region.streams.size(); ++i) {
    if (put[i].ends != 1 || taken[i].ends != 1) {
      return InvalidArgument(region.name, ": stream ", Quoted(region.streams[i].name), " has ", put[i].ends,
                             " producers and ", taken[i].ends, " consumers; one of each is right");
    }
    if (put[i].elements != taken[i].elements) {
      return InvalidArgument(region.name, ": ", put[i].elements, " elements go into stream ",
                             Quoted(region.streams[i].name), " and ", taken[i].elements, " come out");
    }
  }
  return {};
}

void Engine::Push(Time time, int region, int stage, EventKind kind) {
  events_queue_.push({time, order_++, region, stage, kind});
}

int Engine::Start(std::shared_ptr<const RegionSpec> spec, Time at) {
  auto region = std::make_unique<Region>();
  region->number = static_cast<int>(regions_.size());
  region->cycle_1000 = CyclesAt(spec->mhz, 1000);
  region->level.assign(spec->streams.size(), 0);
  region->producer.assign(spec->streams.size(), -1);
  region->consumer.assign(spec->streams.size(), -1);
  for (const StageSpec& stage : spec->stages) {
    const auto index = static_cast<int>(region->stages.size());
    Stage& state = region->stages.emplace_back();
    state.spec = &stage;
    state.waited_for.assign(spec->streams.size(), 0);
    state.at.SkipEmpty(stage);
    state.request = state.at;
    state.done = state.at.AtEnd(stage);
    region->left += state.done ? 0 : 1;
    for (const BlockSpec& block : stage.blocks) {
      for (const LoopSpec& loop : block.loops) {
        for (const Transfer& t : loop.takes) {
          region->consumer[static_cast<size_t>(t.stream)] = index;
        }
        for (const Transfer& t : loop.puts) {
          region->producer[static_cast<size_t>(t.stream)] = index;
        }
      }
    }
    Push(std::max(at, now_), region->number, index, EventKind::kLook);
  }
  region->spec = std::move(spec);
  regions_.push_back(std::move(region));
  ++running_;
  return static_cast<int>(regions_.size()) - 1;
}

void Engine::BeginWait(Stage* stage, bool memory, bool output, int stream) {
  EndWait(stage);
  stage->wait = memory ? Wait::kMemory : output ? Wait::kOutput : Wait::kInput;
  stage->wait_stream = stream;
  stage->wait_since = now_;
}

void Engine::EndWait(Stage* stage) {
  const Time time = now_ - stage->wait_since;
  switch (stage->wait) {
    case Wait::kNone: return;
    case Wait::kInput: stage->counts.waits_for_input += time; break;
    case Wait::kOutput: stage->counts.waits_for_output += time; break;
    case Wait::kMemory: stage->counts.waits_for_memory += time; break;
  }
  if (stage->wait_stream >= 0) {
    stage->waited_for[static_cast<size_t>(stage->wait_stream)] += time;
  }
  stage->wait = Wait::kNone;
}

// Requests reads as far ahead as the port's outstanding bursts (and loops, unless it runs ahead) allow.
void Engine::RequestReads(Region* region, int index) {
  Stage& stage = region->stages[static_cast<size_t>(index)];
  const StageSpec& spec = *stage.spec;
  while (!stage.request.AtEnd(spec)) {
    const LoopSpec& loop = stage.request.Loop(spec);
    if (loop.port < 0 || loop.write) {
      stage.request.NextLoop(spec);
      continue;
    }
    const PortSpec& port = region->spec->ports[static_cast<size_t>(loop.port)];
    if (stage.requested >= port.outstanding || (!port.runs_ahead && !stage.request.SameLoop(stage.at))) {
      return;
    }
    const Time arrival = memories_.Access(now_, port.target, stage.request.Address(spec), loop.bytes, false);
    stage.last_arrival = std::max(stage.last_arrival, arrival);
    Push(stage.last_arrival, region->number, index, EventKind::kArrival);
    ++stage.requested;
    if (++stage.request.step >= loop.steps) {
      stage.request.NextLoop(spec);
    }
  }
}

bool Engine::TryBegin(Region* region, int index) {
  Stage& stage = region->stages[static_cast<size_t>(index)];
  const LoopSpec& loop = stage.at.Loop(*stage.spec);
  RequestReads(region, index);
  for (const Transfer& t : loop.takes) {
    if (region->level[static_cast<size_t>(t.stream)] < t.elements) {
      BeginWait(&stage, false, false, t.stream);
      return false;
    }
  }
  const bool reads = loop.port >= 0 && !loop.write;
  if (reads && stage.arrived == 0) {
    BeginWait(&stage, true, false, -1);
    return false;
  }
  EndWait(&stage);
  Trace(stage, index);
  for (const Transfer& t : loop.takes) {
    region->level[static_cast<size_t>(t.stream)] -= t.elements;
    ready_.push_back(region->producer[static_cast<size_t>(t.stream)]);
  }
  if (reads) {
    --stage.arrived;
    --stage.requested;
    RequestReads(region, index);
  }
  stage.busy = true;
  const Time duration = region->Cycles(loop.cycles);
  stage.counts.busy += duration;
  Push(now_ + duration, region->number, index, EventKind::kStepEnd);
  return true;
}

// The step's outputs leave, if there is room.
bool Engine::TryEnd(Region* region, int index) {
  Stage& stage = region->stages[static_cast<size_t>(index)];
  const LoopSpec& loop = stage.at.Loop(*stage.spec);
  for (const Transfer& t : loop.puts) {
    const auto stream = static_cast<size_t>(t.stream);
    if (region->level[stream] + t.elements > region->spec->streams[stream].depth) {
      BeginWait(&stage, false, true, t.stream);
      return false;
    }
  }
  if (loop.port >= 0 && loop.write) {
    const PortSpec& port = region->spec->ports[static_cast<size_t>(loop.port)];
    while (!stage.responses.empty() && stage.responses.front() <= now_) {
      stage.responses.pop_front();
    }
    if (std::ssize(stage.responses) >= port.outstanding) {
      Push(stage.responses.front(), region->number, index, EventKind::kLook);
      BeginWait(&stage, true, false, -1);
      return false;
    }
    stage.responses.push_back(memories_.Access(now_, port.target, stage.at.Address(*stage.spec), loop.bytes, true));
    region->last_response = std::max(region->last_response, stage.responses.back());
  }
  EndWait(&stage);
  for (const Transfer& t : loop.puts) {
    region->level[static_cast<size_t>(t.stream)] += t.elements;
    ready_.push_back(region->consumer[static_cast<size_t>(t.stream)]);
  }
  return true;
}

// A step begins, or ends.
void Engine::Trace(const Stage& stage, int index) {
  const LoopSpec& loop = stage.at.Loop(*stage.spec);
  if (stage.at.repeat != traced_repeat_ || *loop.what == '\0' ||
      std::find(traced_stages_.begin(), traced_stages_.end(), index) == traced_stages_.end()) {
    return;
  }
  const auto same = [&](const LoopRun& run) { return run.stage == index; };
  const auto last = std::find_if(loop_runs_.rbegin(), loop_runs_.rend(), same);
  if (last != loop_runs_.rend() && last->what == loop.what) {
    last->end = now_;
  } else {
    loop_runs_.push_back({index, loop.what, now_, now_});
  }
}

// To the next step, after what the last one's loop needs to run empty.
void Engine::Next(Region* region, int index) {
  Stage& stage = region->stages[static_cast<size_t>(index)];
  const LoopSpec& loop = stage.at.Loop(*stage.spec);
  Trace(stage, index);
  if (++stage.at.step < loop.steps) {
    return;
  }
  if (loop.drain > 0) {
    stage.draining = true;
    const Time duration = region->Cycles(loop.drain);
    stage.counts.busy += duration;
    Push(now_ + duration, region->number, index, EventKind::kDrained);
  }
  if (stage.at.NextLoop(*stage.spec) && index == watched_stage_) {
    block_ends_.push_back(now_);
  }
  stage.done = stage.at.AtEnd(*stage.spec);
}

// Takes a stage as far as it goes now.
void Engine::Advance(Region* region, int index) {
  Stage& stage = region->stages[static_cast<size_t>(index)];
  while (!stage.busy && !stage.draining) {
    if (stage.ended) {
      if (!TryEnd(region, index)) {
        return;
      }
      stage.ended = false;
      Next(region, index);
      if (stage.done && !stage.draining) {
        --region->left;
        return;
      }
      continue;
    }
    if (stage.done || !TryBegin(region, index)) {
      return;
    }
  }
}

void Engine::Handle(const Event& event, Region* region) {
  Stage& stage = region->stages[static_cast<size_t>(event.stage)];
  switch (event.kind) {
    case EventKind::kStepEnd:
      stage.busy = false;
      stage.ended = true;
      break;
    case EventKind::kDrained:
      stage.draining = false;
      region->left -= stage.done ? 1 : 0;
      break;
    case EventKind::kArrival: ++stage.arrived; break;
    case EventKind::kLook:
    case EventKind::kRegionEnd: break;
  }
  ready_.push_back(event.stage);
  while (!ready_.empty()) {
    const int next = ready_.back();
    ready_.pop_back();
    Advance(region, next);
  }
  if (region->left == 0) {
    region->left = -1;
    Push(std::max(now_, region->last_response), event.region, 0, EventKind::kRegionEnd);
  }
}

// Keeps the counts and frees the rest.
void Engine::Finish(Region* region) {
  region->counts.reserve(region->stages.size());
  for (Stage& stage : region->stages) {
    const auto worst = std::max_element(stage.waited_for.begin(), stage.waited_for.end());
    if (worst != stage.waited_for.end() && *worst > 0) {
      stage.counts.worst_stream = region->spec->streams[static_cast<size_t>(worst - stage.waited_for.begin())].name;
    }
    region->counts.push_back(std::move(stage.counts));
  }
  region->stages.clear();
}

Result<Engine::End> Engine::RunUntilEnd() {
  if (running_ == 0) {
    return InvalidArgument("nothing runs");
  }
  while (!events_queue_.empty()) {
    const Event event = events_queue_.top();
    events_queue_.pop();
    ++events_;
    now_ = event.time;
    Region* const region = regions_[static_cast<size_t>(event.region)].get();
    if (event.kind != EventKind::kRegionEnd) {
      Handle(event, region);
      continue;
    }
    --running_;
    Finish(region);
    return End{event.region, now_};
  }
  std::string text;
  for (const auto& region : regions_) {
    if (region->left > 0) {
      text += StrCat(text.empty() ? "" : "; ", StallText(*region));
    }
  }
  return Status(StatusCode::kInternal, text);
}

std::string Engine::StallText(const Region& region) const {
  std::string text = region.spec->name + ": the streams stall: ";
  const char* separator = "";
  for (const Stage& stage : region.stages) {
    if (stage.done || stage.wait == Wait::kNone || stage.wait_stream < 0) {
      continue;
    }
    const auto stream = static_cast<size_t>(stage.wait_stream);
    text +=
        StrCat(separator, stage.spec->name, stage.wait == Wait::kInput ? " waits for stream " : " waits for room in ",
               Quoted(region.spec->streams[stream].name), " (", region.level[stream], " of ",
               region.spec->streams[stream].depth, " elements)");
    separator = ", ";
  }
  return text;
}

const std::vector<StageCounts>& Engine::stages(int region) const {
  return regions_[static_cast<size_t>(region)]->counts;
}

}  // namespace phidias::sim
