#include "engine/generate.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace phidias {
namespace {

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

Result<int64_t> ContextSize(const PhiConfig& config, const GenerateOptions& options, int64_t prompt_size) {
  const int64_t limit = config.max_position_embeddings;
  if (options.context < 0 || options.context > limit) {
    return InvalidArgument("a context of ", options.context, " positions: this model takes 1 to ", limit,
                           " (max_position_embeddings), or 0 for as many as needed");
  }
  if (options.batch < 1) {
    return InvalidArgument("a batch of ", options.batch, " tokens: must be at least 1");
  }
  if (options.context > 0) {
    return options.context;
  }
  const int64_t wanted = options.sequence.max_new_tokens;
  return wanted < 0 || wanted > limit - prompt_size ? limit : std::max<int64_t>(1, prompt_size + wanted);
}

// The configuration's, or the tokenizer's where an older config.json names none.
std::vector<int32_t> EosIds(const LoadedModel& model) {
  std::vector<int32_t> ids = model.checkpoint->config.eos_token_ids;
  const int32_t end_of_text = model.tokenizer->IdOf("<|endoftext|>");
  if (ids.empty() && end_of_text >= 0) {
    ids.push_back(end_of_text);
  }
  return ids;
}

bool Cancelled(const GenerateOptions& options) {
  return options.cancel != nullptr && options.cancel->load();
}

// One step of the sequence; the text that it completed goes to `text`.
Status StepOnce(Phi& phi, const GenerateOptions& options, Sequence* sequence, std::vector<StepRow>* rows,
                std::string* text) {
  rows->clear();
  const int64_t count = sequence->AppendRows(options.batch, rows);
  auto logits = phi.Step(*rows, {.trace = {}, .cancel = options.cancel});
  if (!logits.ok()) {
    if (logits.status().code() == StatusCode::kCancelled) {
      sequence->Finish(FinishReason::kCancelled, text);
      return {};
    }
    return logits.status();
  }
  return sequence->Advance(count, *logits, text);
}

}  // namespace

Result<GenerateResult> Generate(const LoadedModel& model, std::vector<int32_t> prompt, const GenerateOptions& options,
                                const std::function<void(std::string_view)>& on_text) {
  Phi& phi = *model.phi;
  GenerateResult result;
  result.prompt_tokens = static_cast<int64_t>(prompt.size());
  ASSIGN_OR_RETURN(const int64_t context, ContextSize(phi.config(), options, result.prompt_tokens));
  ASSIGN_OR_RETURN(KvCache cache, phi.NewKvCache(context));
  SequenceOptions sequence_options = options.sequence;
  if (sequence_options.eos_token_ids.empty()) {
    sequence_options.eos_token_ids = EosIds(model);
  }
  ASSIGN_OR_RETURN(Sequence sequence, Sequence::Create(*model.tokenizer, phi.config().vocab_size, std::move(cache),
                                                       std::move(prompt), std::move(sequence_options)));
  std::vector<StepRow> rows;
  Clock::time_point start = Clock::now();
  bool first = true;
  while (!sequence.finished()) {
    std::string text;
    if (Cancelled(options)) {
      sequence.Finish(FinishReason::kCancelled, &text);
    } else {
      RETURN_IF_ERROR(StepOnce(phi, options, &sequence, &rows, &text));
    }
    if (first && (!sequence.generated().empty() || sequence.finished())) {
      first = false;
      result.prompt_seconds = SecondsSince(start);
      start = Clock::now();
    }
    if (!text.empty()) {
      result.text += text;
      on_text(text);
    }
  }
  result.generate_seconds = first ? 0.0 : SecondsSince(start);
  result.ids.assign(sequence.generated().begin(), sequence.generated().end());
  result.finish_reason = sequence.finish_reason();
  return result;
}

}  // namespace phidias
