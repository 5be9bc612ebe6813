#include "hls/csim/dataflow.h"

#include <condition_variable>
#include <memory>
#include <mutex>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "hls/csim/thread_pool.h"
#include "numerics/fp_mode.h"

namespace phidias {
namespace hls {
namespace csim {
namespace {

constexpr size_t kLineBytes = 64;

// Unwinds a stage whose region has failed. Not an error of its own, so not a std::exception.
struct Abandoned {};

// What a stage waits for.
enum class Wait : uint8_t { kNone, kElement, kRoom };

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

  // All below are guarded by the region's mutex.
  Wait wait = Wait::kNone;
  const Channel* channel = nullptr;
  std::condition_variable woken;
};

struct RegionState {
  explicit RegionState(const char* name) : kernel(name) {}

  const char* kernel;
  std::vector<std::unique_ptr<Stage>> stages;
  std::vector<const Channel*> channels;

  std::mutex mutex;
  size_t running = 0;  // neither waiting nor ended
  size_t alive = 0;    // not ended
  std::string fault;
  std::condition_variable ended;
};

namespace {

thread_local const char* current_kernel = "dataflow region";
thread_local RegionState* region_in_making = nullptr;
thread_local Stage* current_stage = nullptr;

bool Ready(const Stage& stage) {
  return stage.wait == Wait::kElement ? !stage.channel->empty() : !stage.channel->full();
}

// Wakes the stages that can go on. Called whenever a stage of the region waits or ends, and only then: until then its
// neighbours sleep on, so that elements pass in batches of up to a stream's depth. Holds the mutex.
void WakeReady(RegionState& region) {
  for (const auto& stage : region.stages) {
    if (stage->wait != Wait::kNone && Ready(*stage)) {
      stage->wait = Wait::kNone;
      ++region.running;
      stage->woken.notify_one();
    }
  }
}

void Fail(RegionState& region, const std::string& fault) {
  region.fault = fault;
  for (const auto& stage : region.stages) {
    stage->woken.notify_one();
  }
}

// Nobody runs and nobody can go on. Holds the mutex.
std::string DescribeStall(const RegionState& region) {
  std::string text = std::string(region.kernel) + ": the dataflow stages stall:";
  const char* separator = " ";
  for (const auto& stage : region.stages) {
    if (stage->wait == Wait::kNone) {
      continue;
    }
    const bool reads = stage->wait == Wait::kElement;
    text += separator;
    text += std::string(NameOf(stage->call)) + (reads ? " reads empty stream \"" : " writes full stream \"") +
            stage->channel->name() + "\"" +
            (reads ? std::string() : " of " + std::to_string(stage->channel->depth()) + " elements");
    separator = ", ";
  }
  return text;
}

// The calling stage waits on `channel`. Throws Abandoned if the region has failed.
void WaitOn(const Channel* channel, Wait wait) {
  Stage* self = current_stage;
  if (self == nullptr) {
    throw std::runtime_error(std::string("stream \"") + channel->name() + "\" is " +
                             (wait == Wait::kElement ? "read while empty" : "written while full") +
                             " outside a dataflow region: nothing would ever change that");
  }
  RegionState& region = *self->region;
  std::unique_lock<std::mutex> lock(region.mutex);
  self->wait = wait;
  self->channel = channel;
  --region.running;
  WakeReady(region);  // itself included, if its condition has come true meanwhile
  if (region.running == 0 && region.fault.empty()) {
    Fail(region, DescribeStall(region));
  }
  self->woken.wait(lock, [&] { return self->wait == Wait::kNone || !region.fault.empty(); });
  if (!region.fault.empty()) {
    throw Abandoned();
  }
}

void EndStage(RegionState& region) {
  const std::lock_guard<std::mutex> lock(region.mutex);
  --region.running;
  --region.alive;
  if (!region.fault.empty()) {
    // Each that unwinds is counted out of `alive` alone.
    region.running = 0;
  } else {
    WakeReady(region);
    if (region.running == 0 && region.alive > 0) {
      Fail(region, DescribeStall(region));
    }
  }
  if (region.alive == 0) {
    region.ended.notify_one();
  }
}

void RunStage(void* argument) {
  auto* stage = static_cast<Stage*>(argument);
  const numerics::ScopedFlushToZero mode;
  Stage* outer = current_stage;
  current_stage = stage;
  try {
    stage->run(stage->body);
  } catch (const Abandoned&) {
    // The region's fault says it all.
  }
  current_stage = outer;
  EndStage(*stage->region);
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

void Region::Run() {
  region_in_making = nullptr;
  RegionState& region = *state_;
  region.running = region.stages.size();
  region.alive = region.stages.size();
  // The last stage, usually the one that writes to memory, has this thread.
  for (size_t i = 0; i + 1 < region.stages.size(); ++i) {
    ThreadPool::Shared().Run(RunStage, region.stages[i].get());
  }
  if (!region.stages.empty()) {
    RunStage(region.stages.back().get());
  }
  std::unique_lock<std::mutex> lock(region.mutex);
  region.ended.wait(lock, [&] { return region.alive == 0; });
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
  return ::operator new (bytes, std::align_val_t{kLineBytes});
}

void Channel::Free(void* memory) {
  ::operator delete (memory, std::align_val_t{kLineBytes});
}

uint64_t Channel::AwaitElement() {
  const uint64_t head = head_.load(std::memory_order_relaxed);
  while (tail_.load(std::memory_order_acquire) == head) {
    WaitOn(this, Wait::kElement);
  }
  return tail_.load(std::memory_order_acquire);
}

uint64_t Channel::AwaitRoom() {
  const uint64_t tail = tail_.load(std::memory_order_relaxed);
  while (head_.load(std::memory_order_acquire) + depth_ == tail) {
    WaitOn(this, Wait::kRoom);
  }
  return head_.load(std::memory_order_acquire) + depth_;
}

}  // namespace csim
}  // namespace hls
}  // namespace phidias
