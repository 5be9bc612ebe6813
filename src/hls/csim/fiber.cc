#include "hls/csim/fiber.h"

#include <sys/mman.h>
#include <unistd.h>

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

namespace phidias {
namespace hls {
namespace csim {
namespace {

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

thread_local Fiber* entering = nullptr;  // makecontext hands over no pointers

}  // namespace

Fiber::Fiber(void (*body)(void*), void* argument)
    : body_(body), argument_(argument), stack_(StackPool::Shared().Take()) {
  getcontext(&own_);
  own_.uc_stack.ss_sp = stack_;
  own_.uc_stack.ss_size = kStackBytes;
  own_.uc_link = nullptr;
  makecontext(&own_, &Fiber::Enter, 0);
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
  swapcontext(&owner_, &own_);
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
  swapcontext(&own_, &owner_);
}

}  // namespace csim
}  // namespace hls
}  // namespace phidias
