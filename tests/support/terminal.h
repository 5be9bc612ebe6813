#pragma once

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

namespace phidias::testing {

// A program on a terminal of its own (a pty), as a person has it: what is typed goes in, what is shown comes out, and
// Ctrl-C is a signal. Killed when the object goes.
class TerminalProgram {
 public:
  explicit TerminalProgram(std::vector<std::string> arguments, const std::vector<std::string>& environment = {}) {
    winsize size = {.ws_row = 24, .ws_col = 200, .ws_xpixel = 0, .ws_ypixel = 0};
    pid_ = forkpty(&master_, nullptr, nullptr, &size);
    if (pid_ == 0) {
      setenv("TERM", "xterm", 1);
      unsetenv("PHIDIAS_HISTORY");
      for (const std::string& entry : environment) {
        putenv(const_cast<char*>(entry.c_str()));
      }
      std::vector<char*> pointers;
      for (std::string& argument : arguments) {
        pointers.push_back(argument.data());
      }
      pointers.push_back(nullptr);
      execv(pointers[0], pointers.data());
      _exit(127);
    }
  }
  TerminalProgram(const TerminalProgram&) = delete;
  TerminalProgram& operator=(const TerminalProgram&) = delete;
  ~TerminalProgram() {
    if (pid_ > 0) {
      kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
    close(master_);
  }

  bool started() const { return pid_ > 0; }

  void Type(std::string_view text) {
    while (!text.empty()) {
      const ssize_t put = write(master_, text.data(), text.size());
      if (put <= 0) {
        return;
      }
      text.remove_prefix(static_cast<size_t>(put));
    }
  }

  // Waits until `text` is shown after what earlier calls waited for; false if the time or the program ends first.
  bool WaitFor(std::string_view text, int seconds = 100) {
    const auto deadline = Clock::now() + std::chrono::seconds(seconds);
    while (true) {
      const size_t at = shown_.find(text, seen_);
      if (at != std::string::npos) {
        seen_ = at + text.size();
        return true;
      }
      if (!Collect(deadline)) {
        return false;
      }
    }
  }

  // Waits for `prompt` and until the program reads keys one by one: libedit shows a prompt first, and what is typed in
  // between is echoed by the terminal, and again by libedit.
  bool WaitForPrompt(std::string_view prompt = "> ", int seconds = 100) {
    const auto deadline = Clock::now() + std::chrono::seconds(seconds);
    if (!WaitFor(prompt, seconds)) {
      return false;
    }
    termios mode = {};
    while (tcgetattr(master_, &mode) == 0 && (mode.c_lflag & ICANON) != 0) {
      if (Clock::now() > deadline) {
        return false;
      }
      usleep(1000);
    }
    return true;
  }

  // Its exit code once it has ended, -N for signal N, -1000 if it doesn't.
  int Wait(int seconds = 100) {
    const auto deadline = Clock::now() + std::chrono::seconds(seconds);
    while (Collect(deadline)) {
    }
    while (Clock::now() < deadline) {
      int status = 0;
      if (waitpid(pid_, &status, WNOHANG) == pid_) {
        pid_ = -1;
        return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
      }
      usleep(10000);
    }
    return -1000;
  }

  void Signal(int signal) const { kill(pid_, signal); }

  const std::string& shown() const { return shown_; }

 private:
  using Clock = std::chrono::steady_clock;

  bool Collect(Clock::time_point deadline) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    pollfd fd = {master_, POLLIN, 0};
    if (left <= 0 || poll(&fd, 1, static_cast<int>(left)) <= 0) {
      return false;
    }
    char buffer[1 << 12];
    const ssize_t got = read(master_, buffer, sizeof buffer);  // EIO once the program has closed its side
    shown_.append(buffer, got > 0 ? static_cast<size_t>(got) : 0);
    return got > 0;
  }

  pid_t pid_ = -1;
  int master_ = -1;
  std::string shown_;
  size_t seen_ = 0;
};

}  // namespace phidias::testing
