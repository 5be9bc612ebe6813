#pragma once

#include <cstddef>

#include "hls/csim/channel.h"

// A dataflow region of the C simulation: every stage a thread of control of its own (hls/csim/fiber.h), streams
// bounded. A stage runs until it has to wait for a stream; then the next that can go on runs. So a result never depends
// on timing, and a fault is certain to be found. It ends the region with an exception (std::runtime_error) that says
// which kernel, which stages and which streams:
//   - stages that wait for each other for good;
//   - elements left in a stream after all stages have ended.
//
// A stage may run a region of its own: a compute unit of a card whose units exchange streams. Its stages then take
// turns with the outer region's, and who waits for good is named as unit.stage.
namespace phidias {
namespace hls {
namespace csim {

struct RegionState;

// Lets the other stages have their turn: for a stage that polls memory. Nothing outside a region.
void YieldToOthers();

// The kernel whose top the calling thread is in, for messages.
void NameKernel(const char* name);

class Region {
 public:
  Region();
  ~Region();
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;

  // `call` is the text of the stage's call; its name goes up to the parenthesis. `body` lives until Run has returned.
  template <class Body>
  void AddStage(const char* call, const Body& body) {
    Add(
        call, [](const void* self) { (*static_cast<const Body*>(self))(); }, &body);
  }

  // Runs all stages to their end. Arithmetic is in numerics::ScopedFlushToZero. `stop`: read atomically whenever a
  // stage of this region polls memory; once it is set, that is a fault.
  void Run(const bool* stop = nullptr);

 private:
  void Add(const char* call, void (*run)(const void*), const void* body);

  RegionState* state_;
};

}  // namespace csim
}  // namespace hls
}  // namespace phidias
