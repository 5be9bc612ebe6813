#include "cli/run_many.h"

#include <chrono>
#include <map>
#include <utility>

#include "cli/interrupt.h"
#include "cli/json.h"
#include "cli/model_option.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/prompt_file.h"
#include "cli/summary.h"

namespace phidias::cli {
namespace {

// The model's path. The file holds the texts, so a positional argument can only be the model.
Result<std::string> ModelOf(const RunFlags& flags) {
  const PromptOption& option = flags.prompt;
  if (option.text.has_value() || option.file.has_value() || option.second.has_value() ||
      (option.first.has_value() && option.model.has_value())) {
    return InvalidArgument("the text is given twice: with --prompts and as one prompt");
  }
  return ChooseModel(option.model.has_value() ? option.model : option.first);
}

Result<std::vector<GenerateRequest>> Requests(const RunFlags& flags, const SequenceOptions& options,
                                              const std::vector<PromptRow>& rows, const Tokenizer& tokenizer) {
  std::vector<GenerateRequest> requests;
  for (const PromptRow& row : rows) {
    const PromptForm form = FormOf(flags, row.prompt);
    auto ids = tokenizer.Encode(form.text, form.parse_special);
    if (!ids.ok()) {
      return DataError(*flags.prompts, ": line ", row.line, ": ", ids.status().message());
    }
    GenerateRequest request{.prompt = *std::move(ids), .sequence = options};
    request.sequence.max_new_tokens = row.max_tokens.value_or(options.max_new_tokens);
    request.sequence.sampling.seed = row.seed.value_or(options.sampling.seed);
    requests.push_back(std::move(request));
  }
  return requests;
}

// Collects what the prompts come to and writes it in their order. Where stdout is broken, generation is asked to stop.
class OrderedResults {
 public:
  OrderedResults(const std::vector<PromptRow>& rows, bool sampled, ManyReport* report, std::atomic<bool>* stop)
      : rows_(rows), sampled_(sampled), report_(report), stop_(stop) {}

  void Take(size_t index, const GenerateRequest& request, const Result<GenerateResult>& result) {
    const PromptRow& row = rows_[index];
    Json json = {{"line", row.line}};
    if (!row.id.is_null()) {
      json["id"] = row.id;
    }
    if (result.ok()) {
      json.update(ResultJson(*result));
      json["seed"] = sampled_ ? Json(request.sequence.sampling.seed) : Json();
      report_->Add(*result);
      report_->ended += result->finish_reason == FinishReason::kCancelled ? 0 : 1;
    } else {
      json["error"] = result.status().message();
      ++report_->failed;
      if (index < first_failure_) {
        first_failure_ = index;
        failure_ = result.status();
      }
    }
    waiting_[index] = JsonLine(json);
    Flush();
  }

  // The first failure, in the file's order, with how many there are.
  Status Finish() const {
    if (!written_.ok() || failure_.ok()) {
      return written_;
    }
    return {failure_.code(), StrCat(report_->failed, " of ", rows_.size(), " prompts failed, the first in line ",
                                    rows_[first_failure_].line, ": ", failure_.message())};
  }

 private:
  void Flush() {
    for (auto it = waiting_.begin(); it != waiting_.end() && it->first == next_; it = waiting_.erase(it)) {
      ++next_;
      if (written_.ok()) {
        written_ = WriteStdout(it->second);
      }
    }
    if (!written_.ok()) {
      stop_->store(true);
    }
  }

  const std::vector<PromptRow>& rows_;
  bool sampled_;
  ManyReport* report_;
  std::atomic<bool>* stop_;
  std::map<size_t, std::string> waiting_;  // lines by index, for those before them
  size_t next_ = 0;                        // index to be written
  Status written_;
  size_t first_failure_ = SIZE_MAX;
  Status failure_;
};

}  // namespace

Status RunMany(const RunFlags& flags) {
  ManyReport report;
  RunSetup& setup = report.setup;
  ASSIGN_OR_RETURN(const SequenceOptions options, SequenceOptionsOf(flags));
  setup.sampling = options.sampling;
  setup.lookup = flags.lookup;
  ASSIGN_OR_RETURN(setup.model, ModelOf(flags));
  ASSIGN_OR_RETURN(const std::vector<PromptRow> rows, ReadPromptFile(*flags.prompts, kMaxPromptFileBytes));
  std::atomic<bool>* const cancel = CatchInterrupts();
  ASSIGN_OR_RETURN(const LoadedModel model, LoadForRun(setup.model, flags, cancel, &setup.load_seconds));
  ASSIGN_OR_RETURN(const std::vector<GenerateRequest> requests, Requests(flags, options, rows, *model.tokenizer));
  report.prompts = static_cast<int64_t>(rows.size());
  report.parallel = flags.parallel;

  OrderedResults results(rows, options.sampling.temperature > 0, &report, cancel);
  ProgressBar bar("generating", "prompts", !flags.quiet);
  bar.Update(0, report.prompts);
  GenerateSink sink;
  sink.on_result = [&](size_t index, const Result<GenerateResult>& result) {
    bar.Clear();
    results.Take(index, requests[index], result);
    bar.Update(report.ended + report.failed, report.prompts);
  };
  const auto start = std::chrono::steady_clock::now();
  RETURN_IF_ERROR(GenerateMany(
      model, requests, {.parallel = flags.parallel, .context = flags.context, .batch = flags.batch, .cancel = cancel},
      sink));
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  setup.backend = model.phi->backend().Describe();  // another one where a card failed
  report.saturated = model.phi->backend().saturated();
  report.interrupted = WasInterrupted();
  bar.Clear();
  if (!flags.quiet && results.Finish().code() != StatusCode::kIoError) {
    WriteStderr(SummaryText(report));
  }
  return report.interrupted ? Status(StatusCode::kCancelled, "") : results.Finish();
}

}  // namespace phidias::cli
