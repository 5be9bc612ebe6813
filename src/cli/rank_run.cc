#include "cli/rank_run.h"

#include <chrono>
#include <thread>

#include "cli/exit_code.h"
#include "cli/output.h"

namespace phidias::cli {

int RunOnRanks(const std::string& verb, const std::function<Status(Ranks&)>& work) {
  const Result<std::unique_ptr<Ranks>> started = StartRanks();
  if (!started.ok()) {
    return Fail(verb, started.status());
  }
  Ranks& ranks = **started;
  Status status = work(ranks);
  if (status.ok()) {
    return kExitOk;
  }
  if (ranks.size() > 1) {
    // What all ranks fail at (a file that isn't there), rank 0 says for all: its Abort comes first.
    if (ranks.rank() != 0) {
      std::this_thread::sleep_for(std::chrono::milliseconds(500));
    }
    if (!status.message().empty()) {
      status = status.WithContext(StrCat("rank ", ranks.rank(), " of ", ranks.size()));
    }
  }
  const int code = Fail(verb, status);
  ranks.Abort(code);
  return code;
}

}  // namespace phidias::cli
