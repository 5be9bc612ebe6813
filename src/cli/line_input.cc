#include "cli/line_input.h"

#include <histedit.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <clocale>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <cwchar>
#include <filesystem>
#include <utility>

#include "cli/interrupt.h"

namespace phidias::cli {
namespace {

constexpr size_t kMaxLineBytes = size_t{16} << 20;
constexpr int kHistoryLines = 1000;

class PlainInput : public LineInput {
 public:
  bool interactive() const override { return false; }

  Result<InputLine> Read(const std::string& /*prompt*/) override {
    while (true) {
      const size_t newline = pending_.find('\n', searched_);
      if (newline != std::string::npos) {
        return Take(newline, newline + 1);
      }
      searched_ = pending_.size();
      if (pending_.size() > kMaxLineBytes) {
        return ResourceExhausted("a line of stdin is longer than ", kMaxLineBytes, " bytes");
      }
      char buffer[1 << 14];
      const ssize_t got = read(STDIN_FILENO, buffer, sizeof buffer);
      if (got < 0 && errno == EINTR) {
        return InputLine{.kind = InputLine::Kind::kInterrupted, .text = {}};
      }
      if (got < 0) {
        return IoError("cannot read stdin: ", std::strerror(errno));
      }
      if (got == 0) {
        return pending_.empty() ? InputLine() : Take(pending_.size(), pending_.size());
      }
      pending_.append(buffer, static_cast<size_t>(got));
    }
  }

 private:
  InputLine Take(size_t end, size_t next) {
    InputLine line = {.kind = InputLine::Kind::kText, .text = pending_.substr(0, end)};
    pending_.erase(0, next);
    searched_ = 0;
    return line;
  }

  std::string pending_;
  size_t searched_ = 0;  // no newline before this
};

// libedit. Its bindings can be changed in ~/.editrc.
class EditedInput : public LineInput {
 public:
  explicit EditedInput(std::string history_file) : history_file_(std::move(history_file)) {
    // Letters beyond ASCII need a locale that knows them, even where the environment names none.
    const char* const locale = std::setlocale(LC_CTYPE, "");
    if (locale == nullptr || std::strcmp(locale, "C") == 0) {
      std::setlocale(LC_CTYPE, "C.UTF-8");
    }
    edit_ = el_init("phidias", stdin, stderr, stderr);
    history_ = history_init();
    HistEvent event;
    history(history_, &event, H_SETSIZE, kHistoryLines);
    history(history_, &event, H_SETUNIQUE, 1);
    if (!history_file_.empty()) {
      history(history_, &event, H_LOAD, history_file_.c_str());  // absent the first time
    }
    el_set(edit_, EL_CLIENTDATA, this);
    el_set(edit_, EL_PROMPT, &EditedInput::Prompt);
    el_set(edit_, EL_GETCFN, &EditedInput::ReadCharacter);
    el_set(edit_, EL_EDITOR, "emacs");
    el_set(edit_, EL_HIST, history, history_);
    el_set(edit_, EL_BIND, "^R", "em-inc-search-prev", nullptr);
    el_source(edit_, nullptr);
  }
  EditedInput(const EditedInput&) = delete;
  EditedInput& operator=(const EditedInput&) = delete;
  ~EditedInput() override {
    if (!history_file_.empty()) {
      HistEvent event;
      const mode_t old = umask(S_IRWXG | S_IRWXO);
      history(history_, &event, H_SAVE, history_file_.c_str());
      umask(old);
    }
    history_end(history_);
    el_end(edit_);
  }

  bool interactive() const override { return true; }

  Result<InputLine> Read(const std::string& prompt) override {
    ForgetTalkInterrupts();  // they stopped the last answer
    if (WasInterrupted()) {
      return InputLine{.kind = InputLine::Kind::kInterrupted, .text = {}};
    }
    prompt_ = prompt;
    el_resize(edit_);
    int count = 0;
    errno = 0;
    const char* const line = el_gets(edit_, &count);
    if (line == nullptr || count <= 0) {
      const bool interrupted = errno == EINTR;
      std::fputc('\n', stderr);
      return InputLine{.kind = interrupted ? InputLine::Kind::kInterrupted : InputLine::Kind::kEnd, .text = {}};
    }
    InputLine input = {.kind = InputLine::Kind::kText, .text = {line, static_cast<size_t>(count)}};
    if (input.text.find_first_not_of(" \t\n") != std::string::npos) {
      HistEvent event;
      history(history_, &event, H_ENTER, line);
    }
    if (input.text.ends_with('\n')) {
      input.text.pop_back();
    }
    return input;
  }

 private:
  static char* Prompt(EditLine* edit) {
    void* self = nullptr;
    el_get(edit, EL_CLIENTDATA, &self);
    return static_cast<EditedInput*>(self)->prompt_.data();
  }

  // Libedit's own reader would miss a signal that comes between two reads. 1, 0 at the end of the input, or -1 and
  // errno.
  static int ReadCharacter(EditLine* /*edit*/, wchar_t* character) {
    std::mbstate_t state{};
    while (true) {
      std::array<pollfd, 2> fds = {{{STDIN_FILENO, POLLIN, 0}, {TalkInterruptFd(), POLLIN, 0}}};
      if (poll(fds.data(), fds.size(), -1) < 0 && errno != EINTR) {
        return -1;
      }
      if (fds[1].revents != 0) {
        ForgetTalkInterrupts();
        errno = EINTR;
        return -1;
      }
      char byte = 0;
      const ssize_t got = fds[0].revents != 0 ? read(STDIN_FILENO, &byte, 1) : -2;
      if (got == 0 || (got == -1 && errno != EINTR && errno != EAGAIN)) {
        return static_cast<int>(got);
      }
      if (got == 1) {
        const size_t used = std::mbrtowc(character, &byte, 1, &state);
        if (used <= 1) {
          return 1;
        }
        if (used == static_cast<size_t>(-1)) {
          state = {};  // not UTF-8: what came so far is dropped, as libedit does
        }
      }
    }
  }

  std::string history_file_;
  std::string prompt_;
  EditLine* edit_;
  History* history_;
};

}  // namespace

std::unique_ptr<LineInput> NewLineInput(const std::string& history) {
  if (isatty(STDIN_FILENO) == 1 && isatty(STDERR_FILENO) == 1) {
    return std::make_unique<EditedInput>(history);
  }
  return std::make_unique<PlainInput>();
}

std::string DefaultHistoryFile() {
  const char* const state = std::getenv("XDG_STATE_HOME");
  const char* const home = std::getenv("HOME");
  std::filesystem::path directory;
  if (state != nullptr && *state == '/') {
    directory = state;
  } else if (home != nullptr && *home == '/') {
    directory = std::filesystem::path(home) / ".local" / "state";
  } else {
    return {};
  }
  directory /= "phidias";
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  return error ? std::string() : (directory / "chat_history").string();
}

}  // namespace phidias::cli
