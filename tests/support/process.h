#pragma once

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

extern "C" char** environ;

namespace phidias::testing {

struct ProcessOptions {
  std::vector<std::string> arguments;    // the program's path first
  std::string input;                     // for stdin, which is a pipe
  std::vector<std::string> environment;  // "NAME=value", added to ours without its PHIDIAS_* variables
  std::string directory;                 // where it runs, if not where we do
  std::string stdout_path;               // stdout goes to this file or device instead of to us
  int signal_on_output = 0;              // sent once, when the first byte of stdout has come
  int signal_when_caught = 0;            // SIGINT or SIGTERM, sent once, as soon as the program handles it
  bool close_on_output = false;          // our end of stdout is closed then
  int timeout_seconds = 120;             // then it is killed
};

struct ProcessResult {
  int exit_code = -1;  // -N: ended by signal N
  bool timed_out = false;
  std::string out;
  std::string err;
};

// Runs a program to its end and collects what it says. `exit_code` stays -1 with a message in `err` where it could not
// even be started.
class Process {
 public:
  static ProcessResult Run(const ProcessOptions& options) {
    Process process(options);
    if (process.Start()) {
      process.Talk();
      process.Wait();
    }
    return process.result_;
  }

 private:
  explicit Process(const ProcessOptions& options) : options_(options) {
    std::signal(SIGPIPE, SIG_IGN);  // a child that doesn't read its stdin
  }
  ~Process() {
    for (int* fd : {&in_[0], &in_[1], &out_[0], &out_[1], &err_[0], &err_[1]}) {
      Close(fd);
    }
  }

  static void Close(int* fd) {
    if (*fd >= 0) {
      close(*fd);
      *fd = -1;
    }
  }

  bool Fail(const char* what, int error) {
    result_.err = std::string(what) + ": " + std::strerror(error);
    return false;
  }

  std::vector<std::string> Environment() const {
    std::vector<std::string> all = options_.environment;
    for (char** entry = environ; *entry != nullptr; ++entry) {
      if (!std::string_view(*entry).starts_with("PHIDIAS_")) {
        all.emplace_back(*entry);
      }
    }
    return all;
  }

  static std::vector<char*> Pointers(std::vector<std::string>* strings) {
    std::vector<char*> pointers;
    for (std::string& text : *strings) {
      pointers.push_back(text.data());
    }
    pointers.push_back(nullptr);
    return pointers;
  }

  bool Start() {
    for (int* pair : {in_, out_, err_}) {
      if (pipe2(pair, O_CLOEXEC) != 0) {
        return Fail("pipe2", errno);
      }
    }
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in_[0], STDIN_FILENO);
    if (options_.stdout_path.empty()) {
      posix_spawn_file_actions_adddup2(&actions, out_[1], STDOUT_FILENO);
    } else {
      posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, options_.stdout_path.c_str(), O_WRONLY, 0);
    }
    posix_spawn_file_actions_adddup2(&actions, err_[1], STDERR_FILENO);
    if (!options_.directory.empty()) {
      posix_spawn_file_actions_addchdir_np(&actions, options_.directory.c_str());
    }
    // The child must see default signals, whatever this process ignores.
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    sigset_t defaults;
    sigemptyset(&defaults);
    for (const int signal : {SIGINT, SIGTERM, SIGPIPE}) {
      sigaddset(&defaults, signal);
    }
    posix_spawnattr_setsigdefault(&attributes, &defaults);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
    std::vector<std::string> arguments = options_.arguments;
    std::vector<std::string> environment = Environment();
    const int error = posix_spawn(&pid_, arguments[0].c_str(), &actions, &attributes, Pointers(&arguments).data(),
                                  Pointers(&environment).data());
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    for (int* fd : {&in_[0], &out_[1], &err_[1]}) {
      Close(fd);
    }
    return error == 0 || Fail("posix_spawn", error);
  }

  // Until the child has closed both outputs, or the time is over.
  void Talk() {
    using Clock = std::chrono::steady_clock;
    const auto deadline = Clock::now() + std::chrono::seconds(options_.timeout_seconds);
    fcntl(in_[1], F_SETFL, O_NONBLOCK);
    while (out_[0] >= 0 || err_[0] >= 0) {
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
      pollfd fds[3] = {{in_[1], POLLOUT, 0}, {out_[0], POLLIN, 0}, {err_[0], POLLIN, 0}};
      const bool waiting = options_.signal_when_caught != 0 && !signalled_;
      const int ready = left <= 0 ? 0 : poll(fds, 3, waiting ? 1 : static_cast<int>(left));
      if (waiting && left > 0 && ready == 0) {
        SignalWhenCaught();
        continue;
      }
      if (ready <= 0) {
        result_.timed_out = true;
        kill(pid_, SIGKILL);
        return;
      }
      if (fds[0].revents != 0) {
        Feed();
      }
      if (fds[1].revents != 0 && Collect(&out_[0], &result_.out)) {
        OnOutput();
      }
      if (fds[2].revents != 0) {
        Collect(&err_[0], &result_.err);
      }
    }
  }

  void Feed() {
    const std::string_view rest = std::string_view(options_.input).substr(fed_);
    const ssize_t put = rest.empty() ? 0 : write(in_[1], rest.data(), rest.size());
    if (put > 0) {
      fed_ += static_cast<size_t>(put);
    }
    if (fed_ == options_.input.size() || (put < 0 && errno != EAGAIN)) {
      Close(&in_[1]);
    }
  }

  static bool Collect(int* fd, std::string* text) {
    char buffer[1 << 14];
    const ssize_t got = read(*fd, buffer, sizeof buffer);
    if (got > 0) {
      text->append(buffer, static_cast<size_t>(got));
      return true;
    }
    Close(fd);
    return false;
  }

  // A signal before the program has its handler would just kill it.
  void SignalWhenCaught() {
    std::ifstream status("/proc/" + std::to_string(pid_) + "/status");
    for (std::string line; std::getline(status, line);) {
      if (line.starts_with("SigCgt:")) {
        const uint64_t caught = std::stoull(line.substr(7), nullptr, 16);
        signalled_ = ((caught >> (options_.signal_when_caught - 1)) & 1) != 0;
      }
    }
    if (signalled_) {
      kill(pid_, options_.signal_when_caught);
    }
  }

  void OnOutput() {
    if (options_.signal_on_output != 0 && !signalled_) {
      signalled_ = true;
      kill(pid_, options_.signal_on_output);
    }
    if (options_.close_on_output) {
      Close(&out_[0]);
    }
  }

  void Wait() {
    int status = 0;
    while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    result_.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }

  const ProcessOptions& options_;
  ProcessResult result_;
  pid_t pid_ = -1;
  int in_[2] = {-1, -1};
  int out_[2] = {-1, -1};
  int err_[2] = {-1, -1};
  size_t fed_ = 0;
  bool signalled_ = false;
};

}  // namespace phidias::testing
