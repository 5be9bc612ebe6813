#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/status.h"
#include "engine/loaded_model.h"
#include "engine/prompt_form.h"
#include "engine/sequence.h"

namespace phidias::cli {

struct ChatOptions {
  PromptFormat format = PromptFormat::kQa;
  SamplingParams sampling;
  int64_t predict = -1;  // tokens of an answer; -1: until it ends or the context is full
  int64_t lookup = 0;    // SequenceOptions::lookup
  int64_t batch = 512;
  std::vector<std::string> stop;  // besides the format's own
};

// What is said to whom, all of it.
struct Conversation {
  std::string system;  // "": none
  std::vector<ChatMessage> messages;
};

struct ChatAnswer {
  std::string text;
  FinishReason finish_reason = FinishReason::kNone;
  int64_t prompt_tokens = 0;  // of the conversation so far, as far as it fits
  int64_t reused = 0;         // of those, not computed again
  int64_t generated = 0;
  double prompt_seconds = 0;    // until the first token is known
  double generate_seconds = 0;  // the tokens after it
};

// What Answer tells while it runs.
struct ChatSink {
  std::function<void(int64_t messages)> on_dropped;  // before the answer: how many more no longer fit
  std::function<void(std::string_view text)> on_text;
};

// One conversation with a model. The KV cache stays from turn to turn, so that a turn costs its own tokens and not the
// whole conversation's. Where the context is too small for all, the oldest turns are no longer told to the model.
class ChatSession {
 public:
  // `context`: positions, 0 for the model's limit. `model` outlives this and is used by nobody else meanwhile.
  // Errors: a context that the model doesn't have, no memory for it.
  static Result<ChatSession> Create(const LoadedModel* model, int64_t context);

  // Says `text` and returns the answer, which may have been cut short by `cancel`; both are then part of the
  // conversation, unless nothing was answered. Error: the text doesn't fit, isn't UTF-8, or the model fails; it is as
  // if nothing had been said.
  Result<ChatAnswer> Answer(std::string text, const ChatOptions& options, const std::atomic<bool>* cancel,
                            const ChatSink& sink);

  const Conversation& conversation() const { return conversation_; }
  void SetConversation(Conversation conversation);
  void SetSystem(std::string text) { conversation_.system = std::move(text); }

  int64_t context() const { return context_; }

 private:
  ChatSession(const LoadedModel* model, int64_t context) : model_(model), context_(context) {}
  PromptForm Form(PromptFormat format) const;
  Result<std::vector<int32_t>> PromptIds(const ChatOptions& options, const ChatSink& sink);
  Result<KvCache> TakeCache(const std::vector<int32_t>& ids);
  Result<ChatAnswer> Generate(std::vector<int32_t> ids, const ChatOptions& options, const std::atomic<bool>* cancel,
                              const ChatSink& sink);

  const LoadedModel* model_;
  int64_t context_;
  Conversation conversation_;
  size_t first_ = 0;                 // messages before it are no longer told to the model
  std::optional<KvCache> cache_;     // none: not made yet, or lost to an error
  std::vector<int32_t> cached_ids_;  // tokens of its positions
};

}  // namespace phidias::cli
