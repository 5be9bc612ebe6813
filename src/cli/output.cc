#include "cli/output.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "cli/exit_code.h"

namespace phidias::cli {
namespace {

// 0, or the errno of the write that failed.
int WriteAll(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t put = write(fd, text.data(), text.size());
    if (put >= 0) {
      text.remove_prefix(static_cast<size_t>(put));
    } else if (errno != EINTR) {
      return errno;
    }
  }
  return 0;
}

}  // namespace

Status WriteStdout(std::string_view text) {
  const int error = WriteAll(STDOUT_FILENO, text);
  if (error == 0) {
    return {};
  }
  return {StatusCode::kIoError, error == EPIPE ? "" : StrCat("cannot write to stdout: ", std::strerror(error))};
}

Status StdoutBuffer::Write(std::string_view text) {
  constexpr size_t kPiece = 1 << 16;
  pending_ += text;
  return pending_.size() < kPiece ? Status() : Flush();
}

Status StdoutBuffer::Flush() {
  Status status = WriteStdout(pending_);
  pending_.clear();
  return status;
}

void WriteStderr(std::string_view text) {
  WriteAll(STDERR_FILENO, text);  // nowhere to report a failure to
}

int Fail(std::string_view verb, const Status& status) {
  if (!status.message().empty()) {
    std::string line = StrCat("phidias", verb.empty() ? "" : " ", verb, ": ", status.message());
    // One line whatever a path or a library's text holds, and no control codes for the terminal.
    for (char& c : line) {
      if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
        c = ' ';
      }
    }
    WriteStderr(line + "\n");
  }
  return ExitCodeOf(status.code());
}

bool StdoutIsTerminal() {
  return isatty(STDOUT_FILENO) == 1;
}

}  // namespace phidias::cli
