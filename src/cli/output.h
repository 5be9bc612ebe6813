#pragma once

#include <string>
#include <string_view>

#include "common/status.h"

namespace phidias::cli {

// All of `text` to stdout, at once. A reader that has gone away (EPIPE) is an error with an empty message: there is
// nobody to tell.
Status WriteStdout(std::string_view text);

// Collects text for stdout and passes it on in large pieces. Ends with Flush(): the destructor can't report.
class StdoutBuffer {
 public:
  Status Write(std::string_view text);
  Status Flush();

 private:
  std::string pending_;
};

// "phidias VERB: message" as one line on stderr ("phidias: message" for an empty verb), nothing for an empty message.
// Returns the exit code that belongs to the status.
int Fail(std::string_view verb, const Status& status);

void WriteStderr(std::string_view text);

bool StdoutIsTerminal();

}  // namespace phidias::cli
