#pragma once

#include <atomic>

namespace phidias::cli {

// From now on the first SIGINT or SIGTERM sets the flag that is returned; a second one ends the program as usual.
std::atomic<bool>* CatchInterrupts();

// For a program that people talk to: every SIGINT sets the flag that is returned, and ends a blocking read with EINTR.
// SIGTERM and SIGHUP do too, and are what WasInterrupted tells of; a second one of these ends the program as usual.
std::atomic<bool>* CatchInterruptsOfTalk();

// Readable from such a signal on until ForgetTalkInterrupts(), for who waits with poll(); -1 if there is none.
int TalkInterruptFd();
void ForgetTalkInterrupts();

// Whether a signal came that ends the program (the flag itself may also be set by the program).
bool WasInterrupted();

}  // namespace phidias::cli
