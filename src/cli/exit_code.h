#pragma once

#include "common/status.h"

namespace phidias::cli {

// What the program's exit status says; `phidias --help` lists them.
enum ExitCode : int {
  kExitOk = 0,
  kExitFailure = 1,       // the operating system said no, or a defect of this program
  kExitUsage = 2,         // a flag or an argument that can't be right
  kExitRefused = 3,       // a model or data file that isn't there, is broken, or is of a kind that doesn't run here
  kExitResources = 4,     // context, memory or a size limit
  kExitInterrupted = 130  // stopped by SIGINT or SIGTERM; what was made until then is on stdout
};

constexpr ExitCode ExitCodeOf(StatusCode code) {
  switch (code) {
    case StatusCode::kOk: return kExitOk;
    case StatusCode::kInvalidArgument: return kExitUsage;
    case StatusCode::kNotFound:
    case StatusCode::kDataError:
    case StatusCode::kUnsupported: return kExitRefused;
    case StatusCode::kResourceExhausted: return kExitResources;
    case StatusCode::kCancelled: return kExitInterrupted;
    case StatusCode::kIoError:
    case StatusCode::kInternal: break;
  }
  return kExitFailure;
}

}  // namespace phidias::cli
