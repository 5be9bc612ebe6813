#pragma once

#include <atomic>

namespace phidias::cli {

// From now on the first SIGINT or SIGTERM sets the flag that is returned; a second one ends the program as usual.
std::atomic<bool>* CatchInterrupts();

// Whether such a signal came (the flag itself may also be set by the program).
bool WasInterrupted();

}  // namespace phidias::cli
