#include "cli/interrupt.h"

#include <csignal>
#include <initializer_list>

namespace phidias::cli {
namespace {

std::atomic<bool> stop_requested{false};
std::atomic<bool> interrupted{false};
static_assert(std::atomic<bool>::is_always_lock_free, "the signal handler writes these");

void OnSignal(int) {
  interrupted.store(true);
  stop_requested.store(true);
  // Either of the two signals kills from here on.
  std::signal(SIGINT, SIG_DFL);
  std::signal(SIGTERM, SIG_DFL);
}

void OnTalkInterrupt(int) {
  stop_requested.store(true);
}

void OnTalkEnd(int signal) {
  interrupted.store(true);
  stop_requested.store(true);
  std::signal(signal, SIG_DFL);
}

void Catch(std::initializer_list<int> signals, void (*handler)(int), int flags) {
  struct sigaction action = {};
  action.sa_handler = handler;
  action.sa_flags = flags;
  sigemptyset(&action.sa_mask);
  for (const int signal : signals) {
    struct sigaction old = {};
    // A signal that the parent had ignored (nohup, background jobs of a shell) stays ignored.
    if (sigaction(signal, nullptr, &old) == 0 && old.sa_handler != SIG_IGN) {
      sigaction(signal, &action, nullptr);
    }
  }
}

}  // namespace

std::atomic<bool>* CatchInterrupts() {
  Catch({SIGINT, SIGTERM}, OnSignal, SA_RESTART);
  return &stop_requested;
}

std::atomic<bool>* CatchInterruptsOfTalk() {
  Catch({SIGINT}, OnTalkInterrupt, 0);
  Catch({SIGTERM, SIGHUP}, OnTalkEnd, 0);
  return &stop_requested;
}

bool WasInterrupted() {
  return interrupted.load();
}

}  // namespace phidias::cli
