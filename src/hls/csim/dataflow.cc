#include "hls/csim/dataflow.h"

#include <chrono>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "hls/csim/fiber.h"
#include "numerics/fp_mode.h"

namespace phidias {
namespace hls {
namespace csim {
namespace {

constexpr std::align_val_t kLine{64};

// Unwinds a stage whose region has failed. Not an error of its own, so not a std::exception.
struct Abandoned {};

// What a stage waits for. kInner: for any stage of the region that it runs itself.
enum class Wait : uint8_t { kNone, kElement, kRoom, kInner };

std::string_view NameOf(const char* call) {
  const std::string_view text(call);
  return text.substr(0, text.find_first_of("(<"));
}

}  // namespace

struct Stage {
  const char* call = nullptr;
  void (*run)(const void*) = nullptr;
  const void* body = nullptr;
  RegionState* region = nullptr;
  Wait wait = Wait::kNone;
  const Channel* channel = nullptr;
  const RegionState* inner = nullptr;
  std::unique_ptr<Fiber> fiber;
};

struct RegionState {
  explicit RegionState(const char* name) : kernel(name) {}

  const char* kernel;
  std::vector<std::unique_ptr<Stage>> stages;
  std::vector<const Channel*> channels;
  std::string fault;
  const bool* stop = nullptr;
  bool abandoned = false;  // the fault is the enclosing region's
};

namespace {

thread_local const char* current_kernel = "dataflow region";
thread_local RegionState* region_in_making = nullptr;
thread_local Stage* current_stage = nullptr;

bool CanGoOn(const Stage& stage) {
  switch (stage.wait) {
    case Wait::kElement: return !stage.channel->empty();
    case Wait::kRoom: return !stage.channel->full();
    case Wait::kInner:
      for (const auto& inner : stage.inner->stages) {
        if (!inner->fiber->done() && CanGoOn(*inner)) {
          return true;
        }
      }
      return false;
    default: return true;
  }
}

void Resume(Stage& stage) {
  Stage* outer = current_stage;
  current_stage = &stage;
  stage.wait = Wait::kNone;
  stage.fiber->Resume();
  current_stage = outer;
}

// Gives every stage that can go on its turn, in order. Returns whether there was one.
bool RunRound(RegionState& region) {
  bool any = false;
  for (const auto& stage : region.stages) {
    if (!stage->fiber->done() && CanGoOn(*stage)) {
      Resume(*stage);
      any = true;
    }
  }
  return any;
}

bool AllDone(const RegionState& region) {
  for (const auto& stage : region.stages) {
    if (!stage->fiber->done()) {
      return false;
    }
  }
  return true;
}

// What the stages that can't go on wait for; a stage that is a region of its own by that region's stages.
void DescribeStages(const RegionState& region, const std::string& prefix, std::string* text) {
  for (const auto& stage : region.stages) {
    if (stage->fiber->done()) {
      continue;
    }
    const std::string name = prefix + std::string(NameOf(stage->call));
    if (stage->wait == Wait::kInner) {
      DescribeStages(*stage->inner, name + ".", text);
      continue;
    }
    const bool reads = stage->wait == Wait::kElement;
    *text += text->empty() ? " " : ", ";
    *text += name + (reads ? " reads empty stream \"" : " writes full stream \"") + stage->channel->name() + "\"" +
             (reads ? std::string() : " of " + std::to_string(stage->channel->depth()) + " elements");
  }
}

std::string DescribeStall(const RegionState& region) {
  std::string stages;
  DescribeStages(region, "", &stages);
  return std::string(region.kernel) + ": the dataflow stages stall:" + stages;
}

// Yields the running stage, which waits as `wait` says. Throws Abandoned if its region has failed.
void YieldStage(Stage* self, Wait wait, const Channel* channel, const RegionState* inner) {
  self->wait = wait;
  self->channel = channel;
  self->inner = inner;
  self->fiber->Yield();
  if (!self->region->fault.empty()) {
    throw Abandoned();
  }
}

// The running stage waits on `channel`. Throws Abandoned if the region has failed.
void WaitOn(const Channel* channel, Wait wait) {
  Stage* self = current_stage;
  if (self == nullptr) {
    throw std::runtime_error(std::string("stream \"") + channel->name() + "\" is " +
                             (wait == Wait::kElement ? "read while empty" : "written while full") +
                             " outside a dataflow region: nothing would ever change that");
  }
  YieldStage(self, wait, channel, nullptr);
}

// A region in a stage of another: once none of its stages can go on, they may wait for the other region's.
void AwaitOuterRegion(RegionState& region) {
  try {
    YieldStage(current_stage, Wait::kInner, nullptr, &region);
  } catch (const Abandoned&) {
    region.fault = current_stage->region->fault;
    region.abandoned = true;
  }
}

void StageBody(void* argument) {
  auto* stage = static_cast<Stage*>(argument);
  try {
    stage->run(stage->body);
  } catch (const Abandoned&) {
    // The region's fault says it all.
  } catch (const std::exception& error) {
    stage->region->fault =
        std::string(stage->region->kernel) + ": " + std::string(NameOf(stage->call)) + ": " + error.what();
  }
}

}  // namespace

void NameKernel(const char* name) {
  current_kernel = name;
}

Region::Region() : state_(new RegionState(current_kernel)) {
  region_in_making = state_;
}

Region::~Region() {
  if (region_in_making == state_) {
    region_in_making = nullptr;
  }
  delete state_;
}

void Region::Add(const char* call, void (*run)(const void*), const void* body) {
  auto stage = std::make_unique<Stage>();
  stage->call = call;
  stage->run = run;
  stage->body = body;
  stage->region = state_;
  state_->stages.push_back(std::move(stage));
}

void YieldToOthers() {
  if (current_stage != nullptr) {
    const bool* const stop = current_stage->region->stop;
    if (stop != nullptr && __atomic_load_n(stop, __ATOMIC_ACQUIRE)) {
      throw std::runtime_error("stopped while it waits for the host");
    }
    std::this_thread::sleep_for(std::chrono::microseconds(20));  // whoever writes that memory needs a processor too
    YieldStage(current_stage, Wait::kNone, nullptr, nullptr);
  }
}

void Region::Run(const bool* stop) {
  region_in_making = nullptr;
  state_->stop = stop;
  const numerics::ScopedFlushToZero mode;  // for the fibers too: a switch leaves the mode alone
  RegionState& region = *state_;
  for (const auto& stage : region.stages) {
    stage->fiber = std::make_unique<Fiber>(StageBody, stage.get());
  }
  while (region.fault.empty() && !AllDone(region)) {
    if (RunRound(region)) {
      continue;
    }
    if (current_stage != nullptr) {
      AwaitOuterRegion(region);
    } else {
      region.fault = DescribeStall(region);
    }
  }
  for (const auto& stage : region.stages) {
    while (!stage->fiber->done()) {
      Resume(*stage);  // throws Abandoned there
    }
  }
  if (region.abandoned) {
    throw Abandoned();
  }
  if (!region.fault.empty()) {
    throw std::runtime_error(region.fault);
  }
  for (const Channel* channel : region.channels) {
    if (!channel->empty()) {
      throw std::runtime_error(std::string(region.kernel) + ": stream \"" + channel->name() + "\" still holds " +
                               std::to_string(channel->size()) + " elements after the last stage has ended");
    }
  }
}

Channel::Channel(const char* name, uint32_t depth) : name_(name), depth_(depth) {
  if (region_in_making != nullptr) {
    region_in_making->channels.push_back(this);
  }
}

void* Channel::Allocate(size_t bytes) {
  return ::operator new(bytes, kLine);
}

void Channel::Free(void* memory) {
  ::operator delete(memory, kLine);
}

void Channel::AwaitElement() {
  WaitOn(this, Wait::kElement);
}

void Channel::AwaitRoom() {
  WaitOn(this, Wait::kRoom);
}

}  // namespace csim
}  // namespace hls
}  // namespace phidias
