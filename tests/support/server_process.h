#pragma once

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <vector>

namespace phidias::testing_support {

// A program that runs beside the test and says on stderr at which port it listens.
class ServerProcess {
 public:
  // `arguments`: the program's path first.
  explicit ServerProcess(std::vector<std::string> arguments) {
    int pipe_fds[2] = {-1, -1};
    if (pipe2(pipe_fds, O_CLOEXEC) != 0) {
      return;
    }
    std::vector<char*> pointers;
    for (std::string& argument : arguments) {
      pointers.push_back(argument.data());
    }
    pointers.push_back(nullptr);
    pid_ = fork();
    if (pid_ == 0) {
      dup2(pipe_fds[1], STDERR_FILENO);
      execv(pointers[0], pointers.data());
      _exit(127);
    }
    close(pipe_fds[1]);
    err_fd_ = pipe_fds[0];
  }
  ServerProcess(const ServerProcess&) = delete;
  ServerProcess& operator=(const ServerProcess&) = delete;
  ~ServerProcess() {
    if (pid_ > 0) {
      kill(pid_, SIGKILL);
      Wait();
    }
    close(err_fd_);
  }

  // Waits until stderr holds `text`; false if the program ends or a minute passes before.
  bool WaitFor(const std::string& text) {
    while (err_.find(text) == std::string::npos) {
      pollfd wait = {err_fd_, POLLIN, 0};
      char buffer[4096];
      const ssize_t got = poll(&wait, 1, 60000) == 1 ? read(err_fd_, buffer, sizeof buffer) : 0;
      if (got <= 0) {
        return false;
      }
      err_.append(buffer, static_cast<size_t>(got));
    }
    return true;
  }
  // The number after "listening on http://ADDRESS:", or 0.
  int Port() {
    if (!WaitFor(", loading")) {
      return 0;
    }
    const size_t end = err_.find(", loading");
    return std::atoi(err_.c_str() + err_.rfind(':', end) + 1);
  }
  void Signal(int signal) { kill(pid_, signal); }
  // Its exit code, or -N if signal N ended it.
  int Wait() {
    int status = 0;
    waitpid(pid_, &status, 0);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
  const std::string& err() const { return err_; }

 private:
  pid_t pid_ = -1;
  int err_fd_ = -1;
  std::string err_;
};

}  // namespace phidias::testing_support
