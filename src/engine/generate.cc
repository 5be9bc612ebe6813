#include "engine/generate.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <optional>
#include <utility>

#include "engine/batch.h"

namespace phidias {
namespace {

using Clock = std::chrono::steady_clock;

double Seconds(Clock::duration duration) {
  return std::chrono::duration<double>(duration).count();
}

Result<int64_t> ContextSize(const PhiConfig& config, int64_t context, int64_t prompt_size, int64_t wanted) {
  const int64_t limit = config.max_position_embeddings;
  if (context < 0 || context > limit) {
    return InvalidArgument("a context of ", context, " positions: this model takes 1 to ", limit,
                           " (max_position_embeddings), or 0 for as many as needed");
  }
  if (context > 0) {
    return context;
  }
  return wanted < 0 || wanted > limit - prompt_size ? limit : std::max<int64_t>(1, prompt_size + wanted);
}

Result<Sequence> NewSequence(const LoadedModel& model, int64_t context, const GenerateRequest& request) {
  const Phi& phi = *model.phi;
  SequenceOptions options = request.sequence;
  ASSIGN_OR_RETURN(
      const int64_t positions,
      ContextSize(phi.config(), context, static_cast<int64_t>(request.prompt.size()), options.max_new_tokens));
  ASSIGN_OR_RETURN(KvCache cache, phi.NewKvCache(positions));
  if (options.eos_token_ids.empty()) {
    options.eos_token_ids = EosTokenIds(model);
  }
  return Sequence::Create(*model.tokenizer, phi.config().vocab_size, std::move(cache), request.prompt,
                          std::move(options));
}

// One call of GenerateMany.
class RequestsRun {
 public:
  RequestsRun(const LoadedModel& model, std::span<const GenerateRequest> requests, const GenerateManyOptions& options,
              const GenerateSink& sink, Batch batch)
      : model_(model), requests_(requests), options_(options), sink_(sink), batch_(std::move(batch)) {}

  Status Run() {
    while (true) {
      if (!Cancelled()) {
        Admit();
      }
      if (active_.empty()) {
        return {};
      }
      if (Cancelled()) {
        CancelAll();
        continue;
      }
      const Status status = Advance();
      if (!status.ok() && status.code() != StatusCode::kCancelled) {
        return status;
      }
    }
  }

 private:
  struct Active {
    size_t index = 0;  // of the request
    Clock::time_point begin;
    std::optional<Clock::time_point> first_token;
    std::string text;
  };

  // A token for everybody. Once no more requests are to come, the last one may be left to the back end.
  Status Advance() {
    const auto take = [this](const BatchEvent& event) { Take(event); };
    if (next_ == requests_.size()) {
      return batch_.Advance(options_.cancel, take);
    }
    ASSIGN_OR_RETURN(const std::vector<BatchEvent> events, batch_.Step(options_.cancel));
    std::for_each(events.begin(), events.end(), take);
    return {};
  }

  bool Cancelled() const { return options_.cancel != nullptr && options_.cancel->load(); }

  // Begins requests until as many run as may.
  void Admit() {
    while (next_ < requests_.size() && static_cast<int64_t>(active_.size()) < options_.parallel) {
      const size_t index = next_++;
      Active active{.index = index, .begin = Clock::now(), .first_token = {}, .text = {}};
      Result<Sequence> sequence = NewSequence(model_, options_.context, requests_[index]);
      if (!sequence.ok()) {
        sink_.on_result(index, sequence.status());
      } else if (sequence->finished()) {
        sink_.on_result(index, ResultOf(*sequence, std::move(active)));
      } else {
        active_.emplace(batch_.Add(*std::move(sequence)), std::move(active));
      }
    }
  }

  void Take(const BatchEvent& event) {
    Active& active = active_.at(event.id);
    if (!active.first_token.has_value()) {
      active.first_token = Clock::now();
    }
    AddText(event.text, &active);
    if (event.finished) {
      End(event.id, event.status);
    }
  }

  void AddText(const std::string& text, Active* active) {
    active->text += text;
    if (!text.empty() && sink_.on_text) {
      sink_.on_text(active->index, text);
    }
  }

  void End(int64_t id, const Status& status) {
    const std::unique_ptr<Sequence> sequence = batch_.Remove(id);
    Active active = std::move(active_.extract(id).mapped());
    const size_t index = active.index;
    sink_.on_result(index, status.ok() ? ResultOf(*sequence, std::move(active)) : Result<GenerateResult>(status));
  }

  void CancelAll() {
    while (!active_.empty()) {
      const auto it = active_.begin();
      std::unique_ptr<Sequence> sequence = batch_.Remove(it->first);
      std::string text;
      sequence->Finish(FinishReason::kCancelled, &text);
      AddText(text, &it->second);
      Active active = std::move(active_.extract(it).mapped());
      const size_t index = active.index;
      sink_.on_result(index, ResultOf(*sequence, std::move(active)));
    }
  }

  static GenerateResult ResultOf(const Sequence& sequence, Active active) {
    const Clock::time_point now = Clock::now();
    const Clock::time_point first = active.first_token.value_or(now);
    const std::span<const int32_t> ids = sequence.generated();
    return {.ids = {ids.begin(), ids.end()},
            .text = std::move(active.text),
            .finish_reason = sequence.finish_reason(),
            .prompt_tokens = static_cast<int64_t>(sequence.prompt_size()),
            .prompt_seconds = Seconds(first - active.begin),
            .generate_seconds = Seconds(now - first),
            .drafted = sequence.lookup().drafted(),
            .accepted = sequence.lookup().accepted()};
  }

  const LoadedModel& model_;
  std::span<const GenerateRequest> requests_;
  const GenerateManyOptions& options_;
  const GenerateSink& sink_;
  Batch batch_;
  std::map<int64_t, Active> active_;  // by the batch's id
  size_t next_ = 0;                   // request to begin
};

}  // namespace

Status GenerateMany(const LoadedModel& model, std::span<const GenerateRequest> requests,
                    const GenerateManyOptions& options, const GenerateSink& sink) {
  if (options.parallel < 1) {
    return InvalidArgument(options.parallel, " prompts at a time: must be at least 1");
  }
  ASSIGN_OR_RETURN(Batch batch, Batch::Create(model.phi.get(), {.max_rows = options.batch}));
  return RequestsRun(model, requests, options, sink, std::move(batch)).Run();
}

Result<GenerateResult> Generate(const LoadedModel& model, std::vector<int32_t> prompt, const GenerateOptions& options,
                                const std::function<void(std::string_view)>& on_text) {
  const GenerateRequest request = {.prompt = std::move(prompt), .sequence = options.sequence};
  std::optional<Result<GenerateResult>> only;
  GenerateSink sink;
  sink.on_text = [&](size_t /*index*/, std::string_view text) { on_text(text); };
  sink.on_result = [&](size_t /*index*/, Result<GenerateResult> result) { only = std::move(result); };
  RETURN_IF_ERROR(GenerateMany(
      model, {&request, 1},
      {.parallel = 1, .context = options.context, .batch = options.batch, .cancel = options.cancel}, sink));
  if (!only.has_value()) {  // cancelled before it began
    GenerateResult result;
    result.finish_reason = FinishReason::kCancelled;
    result.prompt_tokens = static_cast<int64_t>(request.prompt.size());
    return result;
  }
  return *std::move(only);
}

}  // namespace phidias
