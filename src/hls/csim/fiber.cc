#include "hls/csim/fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <mutex>
#include <new>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#define PHIDIAS_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PHIDIAS_ASAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define PHIDIAS_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define PHIDIAS_TSAN 1
#endif
#endif
#ifdef PHIDIAS_ASAN
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef PHIDIAS_TSAN
#include <sanitizer/tsan_interface.h>
#endif

// Puts what a called function must preserve on the stack, stores the stack pointer at `save`, and goes on with what
// lies on the stack `load`. The floating-point mode is the same on both sides. (swapcontext asks the kernel for the
// signal mask every time, and the address sanitizer clears the whole stack's shadow then.)
extern "C" void phidias_fiber_switch(void** save, void* load);
#if defined(__x86_64__)
__asm__(R"(
  .pushsection .text
  .globl phidias_fiber_switch
  .hidden phidias_fiber_switch
  .type phidias_fiber_switch, @function
phidias_fiber_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
  .size phidias_fiber_switch, . - phidias_fiber_switch
  .popsection
)");
#elif defined(__aarch64__)
__asm__(R"(
  .pushsection .text
  .globl phidias_fiber_switch
  .hidden phidias_fiber_switch
  .type phidias_fiber_switch, %function
phidias_fiber_switch:
  sub sp, sp, #160
  stp x19, x20, [sp, #0]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #0]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
  .size phidias_fiber_switch, . - phidias_fiber_switch
  .popsection
)");
#else
#error "No way known to switch stacks on this processor"
#endif

namespace phidias {
namespace hls {
namespace csim {
namespace {

// A stack from which phidias_fiber_switch goes to `entry`: the registers that it takes off, all zero, and the address.
void* FreshStack(char* stack, size_t bytes, void (*entry)()) {
#if defined(__x86_64__)
  constexpr size_t kWords = 8;  // six registers, the address, and the return address that `entry` never uses
  constexpr size_t kEntry = 6;
#else
  constexpr size_t kWords = 20;
  constexpr size_t kEntry = 11;  // x30
#endif
  auto* frame = reinterpret_cast<uintptr_t*>(stack + bytes) - kWords;
  for (size_t i = 0; i < kWords; ++i) {
    frame[i] = 0;
  }
  frame[kEntry] = reinterpret_cast<uintptr_t>(entry);
  return frame;
}

constexpr size_t kStackBytes = size_t{1} << 20;  // pages are taken when they are touched

// Stacks, each with a page below it that can't be touched, kept for the next fiber.
class StackPool {
 public:
  static StackPool& Shared() {
    static StackPool pool;
    return pool;
  }
  ~StackPool() {
    for (char* stack : free_) {
      munmap(stack - page_, kStackBytes + page_);
    }
  }
  StackPool(const StackPool&) = delete;
  StackPool& operator=(const StackPool&) = delete;

  char* Take() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (!free_.empty()) {
        char* stack = free_.back();
        free_.pop_back();
        return stack;
      }
    }
    void* memory = mmap(nullptr, kStackBytes + page_, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (memory == MAP_FAILED || mprotect(memory, page_, PROT_NONE) != 0) {
      throw std::bad_alloc();
    }
    return static_cast<char*>(memory) + page_;
  }

  void Return(char* stack) {
    const std::lock_guard<std::mutex> lock(mutex_);
    free_.push_back(stack);
  }

 private:
  StackPool() = default;

  const size_t page_ = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  std::mutex mutex_;
  std::vector<char*> free_;
};

thread_local Fiber* entering = nullptr;  // the entry takes no argument

}  // namespace

Fiber::Fiber(void (*body)(void*), void* argument)
    : body_(body), argument_(argument), stack_(StackPool::Shared().Take()) {
  own_ = FreshStack(stack_, kStackBytes, &Fiber::Enter);
#ifdef PHIDIAS_TSAN
  own_tsan_ = __tsan_create_fiber(0);
#endif
}

Fiber::~Fiber() {
#ifdef PHIDIAS_TSAN
  __tsan_destroy_fiber(own_tsan_);
#endif
  StackPool::Shared().Return(stack_);
}

void Fiber::Resume() {
  entering = this;
#ifdef PHIDIAS_TSAN
  owner_tsan_ = __tsan_get_current_fiber();
  __tsan_switch_to_fiber(own_tsan_, 0);
#endif
#ifdef PHIDIAS_ASAN
  void* fake_stack = nullptr;
  __sanitizer_start_switch_fiber(&fake_stack, stack_, kStackBytes);
#endif
  phidias_fiber_switch(&owner_, own_);
#ifdef PHIDIAS_ASAN
  __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
#endif
}

void Fiber::Enter() {
  Fiber* self = entering;
#ifdef PHIDIAS_ASAN
  __sanitizer_finish_switch_fiber(nullptr, &self->owner_stack_, &self->owner_stack_size_);
#endif
  self->body_(self->argument_);
  self->done_ = true;
  self->Leave(true);
}

void Fiber::Yield() {
  Leave(false);
#ifdef PHIDIAS_ASAN
  __sanitizer_finish_switch_fiber(own_fake_stack_, &owner_stack_, &owner_stack_size_);
#endif
}

// `for_good`: nothing of the stack is needed any more.
void Fiber::Leave([[maybe_unused]] bool for_good) {
#ifdef PHIDIAS_TSAN
  __tsan_switch_to_fiber(owner_tsan_, 0);
#endif
#ifdef PHIDIAS_ASAN
  __sanitizer_start_switch_fiber(for_good ? nullptr : &own_fake_stack_, owner_stack_, owner_stack_size_);
#endif
  phidias_fiber_switch(&own_, owner_);
}

}  // namespace csim
}  // namespace hls
}  // namespace phidias
