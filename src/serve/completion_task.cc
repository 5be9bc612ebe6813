#include "serve/completion_task.h"

#include <algorithm>
#include <chrono>
#include <iterator>
#include <utility>

#include "serve/random_id.h"

namespace phidias::serve {
namespace {

const char* FinishName(FinishReason reason) {
  return reason == FinishReason::kEos || reason == FinishReason::kStopString ? "stop" : "length";
}

void Merge(ChoiceEvent event, std::vector<ChoiceEvent>* events) {
  const auto it = std::find_if(events->begin(), events->end(),
                               [&](const ChoiceEvent& other) { return other.choice == event.choice; });
  if (it == events->end()) {
    events->push_back(std::move(event));
    return;
  }
  it->text += event.text;
  it->tokens += event.tokens;
  it->cached += event.cached;
  const auto append = [](std::vector<TokenLogprob>* to, std::vector<TokenLogprob>* from) {
    to->insert(to->end(), std::make_move_iterator(from->begin()), std::make_move_iterator(from->end()));
  };
  append(&it->prompt_logprobs, &event.prompt_logprobs);
  append(&it->logprobs, &event.logprobs);
  it->finished = event.finished;
  it->status = event.status;
}

}  // namespace

CompletionTask::CompletionTask(CompletionSpec spec, const ModelInfo* model, Scheduler* scheduler,
                               std::unique_ptr<Exchange> exchange)
    : spec_(std::move(spec)),
      model_(model),
      scheduler_(scheduler),
      id_((spec_.chat ? "chatcmpl-" : "cmpl-") + RandomId()),
      created_(std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch())
                   .count()),
      exchange_(std::move(exchange)),
      choices_(spec_.prompts.size() * static_cast<size_t>(spec_.n)),
      open_(choices_.size()) {}

std::vector<ChoiceRequest> CompletionTask::Requests() const {
  std::vector<ChoiceRequest> requests;
  for (const Prompt& prompt : spec_.prompts) {
    for (int64_t i = 0; i < spec_.n; ++i) {
      requests.push_back({.prompt = prompt.ids, .options = spec_.options});
      requests.back().options.stream = static_cast<uint64_t>(i);
    }
  }
  return requests;
}

void CompletionTask::Start() {
  for (const Prompt& prompt : spec_.prompts) {
    exchange_->record().prompt_tokens += static_cast<int64_t>(prompt.ids.size());
  }
  Result<Scheduler::Ticket> ticket = scheduler_->Submit(Requests(), shared_from_this());
  if (!ticket.ok()) {
    const bool full = ticket.status().code() == StatusCode::kResourceExhausted;
    return exchange_->Fail(
        full ? Overloaded(scheduler_->RetrySeconds(), "The server is busy: " + ticket.status().message())
             : FromStatus(ticket.status()));
  }
  ticket_ = *std::move(ticket);
  exchange_->reply().OnGone([self = shared_from_this()] {
    self->scheduler_->Cancel(self->ticket_);
    self->FillRecord();
    self->exchange_->Gone();
  });
}

// What ends a choice isn't kept waiting; the first event comes at once, since nothing was taken before it.
void CompletionTask::OnEvents(std::vector<ChoiceEvent> events) {
  Clock::duration wait{};
  {
    const std::lock_guard lock(mutex_);
    bool ends = false;
    for (ChoiceEvent& event : events) {
      ends = ends || event.finished != FinishReason::kNone || !event.status.ok();
      Merge(std::move(event), &pending_);
    }
    if (turn_ == Turn::kNow || (turn_ == Turn::kLater && !ends)) {
      return;
    }
    wait = ends ? Clock::duration{} : taken_ + kPieceInterval - Clock::now();
    turn_ = wait.count() > 0 ? Turn::kLater : Turn::kNow;
  }
  const auto take = [self = shared_from_this()] { self->Take(); };
  if (wait.count() > 0) {
    exchange_->reply().RunAfter(wait, take);
  } else {
    exchange_->reply().Run(take);
  }
}

void CompletionTask::Take() {
  std::vector<ChoiceEvent> events;
  {
    const std::lock_guard lock(mutex_);
    if (pending_.empty()) {
      return;  // an end, which didn't wait, took what this call was for
    }
    events.swap(pending_);
    turn_ = Turn::kNone;
    taken_ = Clock::now();
  }
  std::string pieces;
  for (ChoiceEvent& event : events) {
    if (exchange_->over()) {
      return;
    }
    if (!event.status.ok()) {
      exchange_->Write(std::exchange(pieces, {}));
      return Fail(event.status);
    }
    const size_t index = event.choice;
    Apply(std::move(event));
    if (spec_.stream) {
      AppendPiece(index, &pieces);
    }
  }
  if (!pieces.empty()) {
    exchange_->Write(std::move(pieces));
  }
  if (open_ == 0) {
    Finish();
  }
}

void CompletionTask::Apply(ChoiceEvent event) {
  Choice& choice = choices_[event.choice];
  if (event.tokens > 0 && exchange_->record().first_token_seconds == 0) {
    exchange_->record().first_token_seconds = exchange_->SecondsSinceBegin();
  }
  if (!choice.begun && spec_.options.logprobs >= 0) {
    choice.logprobs = std::make_unique<LogprobJson>(model_->tokenizer, spec_.chat);
    if (spec_.options.prompt_logprobs) {
      choice.logprobs->AddFirst(PromptOf(event.choice).ids.front());
    }
  }
  if (!choice.begun && spec_.echo) {
    choice.text = PromptOf(event.choice).text;
  }
  std::string_view text = event.text;
  if (choice.tokens == 0 && event.tokens > 0 && spec_.chat && spec_.begins_answer) {
    text = StripAnswer(spec_.format, text);
  }
  choice.text += text;
  for (const auto* scores : {&event.prompt_logprobs, &event.logprobs}) {
    for (const TokenLogprob& score : *scores) {
      choice.logprobs->Add(score, spec_.options.logprobs > 0);
    }
  }
  choice.tokens += event.tokens;
  choice.cached += event.cached;
  choice.finished = event.finished;
  open_ -= event.finished != FinishReason::kNone ? 1 : 0;
  choice.begun = choice.begun || !spec_.stream;
}

// The pieces of a stream that are due for one choice.
void CompletionTask::AppendPiece(size_t index, std::string* out) {
  if (!exchange_->streaming()) {
    exchange_->BeginStream();
  }
  Choice& choice = choices_[index];
  const auto add = [&](const Json& piece) {
    *out += "data: " + Envelope(spec_.chat ? "chat.completion.chunk" : "text_completion", Json::array({piece}), false) +
            "\n\n";
  };
  if (!std::exchange(choice.begun, true) && spec_.chat) {
    add({{"index", index},
         {"delta", {{"role", "assistant"}, {"content", ""}}},
         {"logprobs", nullptr},
         {"finish_reason", nullptr}});
  }
  const bool finished = choice.finished != FinishReason::kNone;
  const Json reason = finished ? Json(FinishName(choice.finished)) : Json();
  if (choice.text.empty() && !finished) {
    return;  // scores wait for the text that they belong to
  }
  Json logprobs = choice.logprobs ? choice.logprobs->Take() : Json();
  if (!spec_.chat) {
    add({{"index", index}, {"text", choice.text}, {"logprobs", std::move(logprobs)}, {"finish_reason", reason}});
  } else {
    const Json none = Json::object();
    if (!choice.text.empty() || !logprobs.is_null()) {
      add({{"index", index},
           {"delta", {{"content", choice.text}}},
           {"logprobs", std::move(logprobs)},
           {"finish_reason", nullptr}});
    }
    if (finished) {
      add({{"index", index}, {"delta", none}, {"logprobs", nullptr}, {"finish_reason", reason}});
    }
  }
  choice.text.clear();
}

void CompletionTask::Fail(const Status& status) {
  scheduler_->Cancel(ticket_);
  FillRecord();
  exchange_->Fail(FromStatus(status));
}

void CompletionTask::Finish() {
  FillRecord();
  if (spec_.stream) {
    std::string last;
    if (spec_.include_usage) {
      last =
          "data: " + Envelope(spec_.chat ? "chat.completion.chunk" : "text_completion", Json::array(), true) + "\n\n";
    }
    exchange_->Write(last + "data: [DONE]\n\n");
    return exchange_->EndStream();
  }
  Json choices = Json::array();
  for (size_t i = 0; i < choices_.size(); ++i) {
    choices.push_back(WholeChoice(i));
  }
  HttpResponse response;
  response.body = Envelope(spec_.chat ? "chat.completion" : "text_completion", choices, true);
  exchange_->Answer(std::move(response));
}

// An answer or a piece of one. Pieces say "usage": null where a last one will say it.
std::string CompletionTask::Envelope(const char* object, const Json& choices, bool with_usage) const {
  Json json = {{"id", id_},
               {"object", object},
               {"created", created_},
               {"model", model_->names.front()},
               {"system_fingerprint", "phidias-" PHIDIAS_VERSION},
               {"choices", choices}};
  if (with_usage) {
    json["usage"] = Usage();
  } else if (spec_.include_usage) {
    json["usage"] = nullptr;
  }
  return Dump(json);
}

Json CompletionTask::WholeChoice(size_t index) {
  Choice& choice = choices_[index];
  Json logprobs = choice.logprobs ? choice.logprobs->Take() : Json();
  Json json = {{"index", index}};
  if (spec_.chat) {
    json["message"] = {{"role", "assistant"}, {"content", choice.text}, {"refusal", nullptr}};
  } else {
    json["text"] = choice.text;
  }
  json["logprobs"] = std::move(logprobs);
  json["finish_reason"] = FinishName(choice.finished);
  return json;
}

Json CompletionTask::Usage() const {
  int64_t prompt = 0;
  int64_t generated = 0;
  int64_t cached = 0;
  for (const Prompt& one : spec_.prompts) {
    prompt += static_cast<int64_t>(one.ids.size());
  }
  for (size_t i = 0; i < choices_.size(); ++i) {
    generated += choices_[i].tokens;
    cached += i % static_cast<size_t>(spec_.n) == 0 ? choices_[i].cached : 0;
  }
  return {{"prompt_tokens", prompt},
          {"completion_tokens", generated},
          {"total_tokens", prompt + generated},
          {"prompt_tokens_details", {{"cached_tokens", cached}}}};
}

void CompletionTask::FillRecord() {
  RequestRecord& record = exchange_->record();
  record.generated_tokens = 0;
  record.cached_tokens = 0;
  for (const Choice& choice : choices_) {
    record.generated_tokens += choice.tokens;
    record.cached_tokens += choice.cached;
  }
  const FinishReason first = choices_.front().finished;
  record.finish = first == FinishReason::kNone ? "" : FinishName(first);
}

}  // namespace phidias::serve
