#include "cli/chat_session.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <utility>

#include "engine/batch.h"

namespace phidias::cli {
namespace {

using Clock = std::chrono::steady_clock;

double Seconds(Clock::duration duration) {
  return std::chrono::duration<double>(duration).count();
}

// The text of an answer as it comes, without the blank that the prompt's form makes it begin with.
class AnswerText {
 public:
  AnswerText(PromptFormat format, const ChatSink* sink) : format_(format), sink_(sink) {}

  void Add(std::string_view piece) {
    if (!piece.empty()) {
      piece = begun_ ? piece : StripAnswer(format_, piece);
      begun_ = true;
      text_ += piece;
      sink_->on_text(piece);
    }
  }
  std::string Take() { return std::move(text_); }

 private:
  PromptFormat format_;
  const ChatSink* sink_;
  bool begun_ = false;
  std::string text_;
};

}  // namespace

Result<ChatSession> ChatSession::Create(const LoadedModel* model, int64_t context) {
  const int64_t limit = model->phi->config().max_position_embeddings;
  if (context < 0 || context > limit) {
    return InvalidArgument("a context of ", context, " positions: this model takes 1 to ", limit,
                           " (max_position_embeddings), or 0 for all");
  }
  ChatSession session(model, context == 0 ? limit : context);
  ASSIGN_OR_RETURN(session.cache_, model->phi->NewKvCache(session.context_));
  return session;
}

void ChatSession::SetConversation(Conversation conversation) {
  conversation_ = std::move(conversation);
  first_ = 0;
}

PromptForm ChatSession::Form(PromptFormat format) const {
  std::vector<ChatMessage> told;
  if (!conversation_.system.empty()) {
    told.push_back({.role = ChatRole::kSystem, .text = conversation_.system});
  }
  told.insert(told.end(), conversation_.messages.begin() + static_cast<std::ptrdiff_t>(first_),
              conversation_.messages.end());
  return FormatConversation(format, told);
}

// The conversation's ids, without the turns that leave no room. Half of the context is then free, so that what is left
// out changes, and the cache with it is lost, every few turns and not at each.
Result<std::vector<int32_t>> ChatSession::PromptIds(const ChatOptions& options, const ChatSink& sink) {
  const int64_t quarter = std::max<int64_t>(1, context_ / 4);
  const int64_t room = options.predict < 0 ? quarter : std::clamp<int64_t>(options.predict, 1, quarter);
  const size_t before = first_;
  int64_t limit = context_ - room;
  while (true) {
    const PromptForm form = Form(options.format);
    ASSIGN_OR_RETURN(std::vector<int32_t> ids, model_->tokenizer->Encode(form.text, form.parse_special));
    const auto& messages = conversation_.messages;
    const auto next = std::find_if(messages.begin() + static_cast<std::ptrdiff_t>(first_) + 1, messages.end(),
                                   [](const ChatMessage& message) { return message.role == ChatRole::kUser; });
    if (static_cast<int64_t>(ids.size()) <= limit || next == messages.end()) {
      if (first_ > before) {
        sink.on_dropped(static_cast<int64_t>(first_ - before));
      }
      return ids;
    }
    first_ = static_cast<size_t>(next - messages.begin());
    limit = context_ / 2;
  }
}

// The cache with as much of it as `ids` begin with; the last id is always computed, since its logits are wanted.
Result<KvCache> ChatSession::TakeCache(const std::vector<int32_t>& ids) {
  std::optional<KvCache> cache = std::exchange(cache_, std::nullopt);
  const std::vector<int32_t> old = std::exchange(cached_ids_, {});
  if (!cache.has_value()) {
    return model_->phi->NewKvCache(context_);
  }
  const auto same = std::mismatch(ids.begin(), ids.end(), old.begin(), old.end()).first - ids.begin();
  cache->Truncate(std::min<int64_t>(same, static_cast<int64_t>(ids.size()) - 1));
  return *std::move(cache);
}

Result<ChatAnswer> ChatSession::Generate(std::vector<int32_t> ids, const ChatOptions& options,
                                         const std::atomic<bool>* cancel, const ChatSink& sink) {
  const Clock::time_point begin = Clock::now();
  std::optional<Clock::time_point> first;
  ASSIGN_OR_RETURN(Batch batch, Batch::Create(model_->phi.get(), {.max_rows = options.batch}));
  SequenceOptions wanted;
  wanted.sampling = options.sampling;
  wanted.max_new_tokens = options.predict;
  wanted.stop = options.stop;
  const std::vector<std::string> form_stop = Form(options.format).stop;
  wanted.stop.insert(wanted.stop.end(), form_stop.begin(), form_stop.end());
  wanted.eos_token_ids = EosTokenIds(*model_);
  wanted.lookup = options.lookup;
  ASSIGN_OR_RETURN(KvCache cache, TakeCache(ids));
  ChatAnswer answer;
  answer.prompt_tokens = static_cast<int64_t>(ids.size());
  answer.reused = cache.length();
  ASSIGN_OR_RETURN(Sequence made, Sequence::Create(*model_->tokenizer, model_->phi->config().vocab_size,
                                                   std::move(cache), std::move(ids), std::move(wanted)));
  const int64_t id = batch.Add(std::move(made));
  AnswerText text(options.format, &sink);
  Status status;
  while (status.ok() && !batch.Find(id)->finished()) {
    Status of_answer;
    status = batch.Advance(cancel, [&](const BatchEvent& event) {
      first = first.value_or(Clock::now());
      text.Add(event.text);
      of_answer = event.status;
    });
    status = status.ok() ? of_answer : status;
  }
  const std::unique_ptr<Sequence> sequence = batch.Remove(id);
  if (status.code() == StatusCode::kCancelled) {
    std::string rest;
    sequence->Finish(FinishReason::kCancelled, &rest);
    text.Add(rest);
  } else if (!status.ok()) {
    return status;
  }
  answer.text = text.Take();
  answer.finish_reason = sequence->finish_reason();
  answer.generated = static_cast<int64_t>(sequence->generated().size());
  answer.prompt_seconds = Seconds(first.value_or(Clock::now()) - begin);
  answer.generate_seconds = first.has_value() ? Seconds(Clock::now() - *first) : 0;
  const std::span<const int32_t> known = sequence->tokens().first(static_cast<size_t>(sequence->cache().length()));
  cached_ids_.assign(known.begin(), known.end());
  cache_ = sequence->ReleaseCache();
  return answer;
}

Result<ChatAnswer> ChatSession::Answer(std::string text, const ChatOptions& options, const std::atomic<bool>* cancel,
                                       const ChatSink& sink) {
  const size_t before = conversation_.messages.size();
  const size_t first_before = first_;
  conversation_.messages.push_back({.role = ChatRole::kUser, .text = std::move(text)});
  Result<std::vector<int32_t>> ids = PromptIds(options, sink);
  Result<ChatAnswer> answer =
      ids.ok() ? Generate(*std::move(ids), options, cancel, sink) : Result<ChatAnswer>(ids.status());
  if (!answer.ok() || answer->text.empty()) {
    conversation_.messages.resize(before);
    first_ = first_before;
  } else {
    conversation_.messages.push_back({.role = ChatRole::kAssistant, .text = answer->text});
  }
  return answer;
}

}  // namespace phidias::cli
