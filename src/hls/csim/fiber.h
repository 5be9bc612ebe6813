#pragma once

#include <cstddef>

namespace phidias {
namespace hls {
namespace csim {

// A thread of control with a stack of its own, which runs when its owner says so and until it yields: what the stages
// of a simulated kernel run on. Threads of the operating system were tried first: a dozen stages that wake each other
// at every full stream spent more than a third of the processor time on waking, tens of microseconds a time.
// One operating-system thread makes, resumes and destroys a fiber.
class Fiber {
 public:
  Fiber(void (*body)(void*), void* argument);
  ~Fiber();  // after the body has returned
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // By the owner: runs the body from where it stands until it yields or returns.
  void Resume();
  // By the body: back to the owner's Resume.
  void Yield();

  bool done() const { return done_; }

 private:
  static void Enter();
  void Leave(bool for_good);

  void (*body_)(void*);
  void* argument_;
  char* stack_;
  bool done_ = false;
  void* own_ = nullptr;    // the body's stack pointer while the owner runs
  void* owner_ = nullptr;  // the owner's while the body runs
  // For the address sanitizer (which stack is in use) and the thread sanitizer (which fiber).
  const void* owner_stack_ = nullptr;
  size_t owner_stack_size_ = 0;
  void* own_fake_stack_ = nullptr;
  void* own_tsan_ = nullptr;
  void* owner_tsan_ = nullptr;
};

}  // namespace csim
}  // namespace hls
}  // namespace phidias
