#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "serve/completion_spec.h"
#include "serve/exchange.h"
#include "serve/logprob_json.h"
#include "serve/scheduler.h"

namespace phidias::serve {

// Makes the answer to one completion or chat out of what the engine says. The engine's thread leaves events here; the
// connection's turn takes them, and writes JSON. Where tokens come faster than kPieceInterval, or the turns fall
// behind, pieces of a stream become longer, not more: events, packets and system calls for each token of a small model
// would take a third of the time in which it computes them.
class CompletionTask final : public ChoiceSink, public std::enable_shared_from_this<CompletionTask> {
 public:
  CompletionTask(CompletionSpec spec, const ModelInfo* model, Scheduler* scheduler, std::unique_ptr<Exchange> exchange);

  // Hands the request to the scheduler, or answers that it can't.
  void Start();

  void OnEvents(std::vector<ChoiceEvent> events) override;

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr Clock::duration kPieceInterval = std::chrono::milliseconds(20);
  enum class Turn : uint8_t { kNone, kLater, kNow };

  // What there is of one choice.
  struct Choice {
    std::string text;    // not streamed: all; streamed: what hasn't been sent
    bool begun = false;  // something of it was sent, or seen
    int64_t tokens = 0;
    int64_t cached = 0;
    FinishReason finished = FinishReason::kNone;
    std::unique_ptr<LogprobJson> logprobs;
  };

  std::vector<ChoiceRequest> Requests() const;
  const Prompt& PromptOf(size_t choice) const { return spec_.prompts[choice / static_cast<size_t>(spec_.n)]; }
  void Take();
  void Apply(ChoiceEvent event);
  void AppendPiece(size_t index, std::string* out);
  void Fail(const Status& status);
  void Finish();
  std::string Envelope(const char* object, const Json& choices, bool with_usage) const;
  Json WholeChoice(size_t index);
  Json Usage() const;
  void FillRecord();

  CompletionSpec spec_;
  const ModelInfo* model_;
  Scheduler* scheduler_;
  std::string id_;
  int64_t created_;

  std::mutex mutex_;
  std::vector<ChoiceEvent> pending_;  // at most one for each choice
  Turn turn_ = Turn::kNone;           // a call of Take() that is to come
  Clock::time_point taken_;           // the last one

  // Of the connection's turn alone.
  std::unique_ptr<Exchange> exchange_;
  Scheduler::Ticket ticket_;
  std::vector<Choice> choices_;
  size_t open_;
};

}  // namespace phidias::serve
