#include "cli/interrupt.h"

#include <csignal>

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

}  // namespace

std::atomic<bool>* CatchInterrupts() {
  struct sigaction action = {};
  action.sa_handler = OnSignal;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  for (const int signal : {SIGINT, SIGTERM}) {
    struct sigaction old = {};
    // A signal that the parent had ignored (nohup, background jobs of a shell) stays ignored.
    if (sigaction(signal, nullptr, &old) == 0 && old.sa_handler != SIG_IGN) {
      sigaction(signal, &action, nullptr);
    }
  }
  return &stop_requested;
}

bool WasInterrupted() {
  return interrupted.load();
}

}  // namespace phidias::cli
