#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "common/status.h"

namespace phidias::cli {

struct InputLine {
  enum class Kind : uint8_t { kText, kEnd, kInterrupted };
  Kind kind = Kind::kEnd;
  std::string text;  // without its newline
};

// Lines from stdin. A signal of CatchInterruptsOfTalk() ends a read (kInterrupted).
class LineInput {
 public:
  virtual ~LineInput() = default;
  virtual bool interactive() const = 0;
  // `prompt` is shown to a person, on stderr: stdout is for the product alone.
  // Errors: stdin can't be read; a line longer than any text that fits a model.
  virtual Result<InputLine> Read(const std::string& prompt) = 0;
};

// With line editing and history where stdin and stderr are a terminal, else plain. `history`: a file that it is read
// from and written to at the end (readable by its owner alone), "" for none.
std::unique_ptr<LineInput> NewLineInput(const std::string& history);

// $XDG_STATE_HOME/phidias/chat_history or ~/.local/state/phidias/chat_history, its directory made if need be; "" where
// that can't be.
std::string DefaultHistoryFile();

}  // namespace phidias::cli
