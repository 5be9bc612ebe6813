#include "cli/interrupt.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <initializer_list>

namespace phidias::cli {
namespace {

std::atomic<bool> stop_requested{false};
std::atomic<bool> interrupted{false};
int wake_reader = -1;
int wake_writer = -1;
static_assert(std::atomic<bool>::is_always_lock_free, "the signal handler writes these");

void OnSignal(int) {
  interrupted.store(true);
  stop_requested.store(true);
  // Either of the two signals kills from here on.
  std::signal(SIGINT, SIG_DFL);
  std::signal(SIGTERM, SIG_DFL);
}

// A signal may come just before a read that it should end, or on another thread; a byte in a pipe isn't lost.
void Wake() {
  const int saved = errno;
  [[maybe_unused]] const ssize_t put = write(wake_writer, "!", 1);
  errno = saved;
}

void OnTalkInterrupt(int) {
  stop_requested.store(true);
  Wake();
}

void OnTalkEnd(int signal) {
  interrupted.store(true);
  stop_requested.store(true);
  std::signal(signal, SIG_DFL);
  Wake();
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
  std::array<int, 2> ends{-1, -1};
  if (wake_reader < 0 && pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK) == 0) {
    wake_reader = ends[0];
    wake_writer = ends[1];
  }
  Catch({SIGINT}, OnTalkInterrupt, 0);
  Catch({SIGTERM, SIGHUP}, OnTalkEnd, 0);
  return &stop_requested;
}

int TalkInterruptFd() {
  return wake_reader;
}

void ForgetTalkInterrupts() {
  std::array<char, 64> bytes;
  while (read(wake_reader, bytes.data(), bytes.size()) > 0) {
  }
}

bool WasInterrupted() {
  return interrupted.load();
}

}  // namespace phidias::cli
