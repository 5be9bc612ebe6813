// phidias run: continue a text.

#include "cli/device_flags.h"
#include "cli/exit_code.h"
#include "cli/flags.h"
#include "cli/interrupt.h"
#include "cli/model_option.h"
#include "cli/output.h"
#include "cli/prompt.h"
#include "cli/run_flags.h"
#include "cli/run_many.h"
#include "cli/summary.h"
#include "cli/verbs.h"
#include "engine/generate.h"

namespace phidias::cli {
namespace {

constexpr const char* kUsage = "phidias run [OPTIONS] [MODEL] [TEXT]";
constexpr const char* kExamples =
    "Greedy by default: the same prompt gives the same text, on every machine. The text goes to stdout as it is made, "
    "a\n"
    "summary to stderr. One positional argument is the model if there is such a file or directory, else the prompt.\n"
    "A final newline of a file or of stdin is not part of the prompt.\n"
    "\n"
    "Examples:\n"
    "  phidias run \"Once upon a time\"\n"
    "  phidias run -m phi-2 --prompt-format qa -n -1 \"What is a lighthouse?\"\n"
    "  phidias run -m phi-2.gguf -f prompt.txt --temp 0.7 --seed 1 --stop \"\\n\\n\" -e\n"
    "  echo \"def fib(n):\" | phidias run -m phi-2 --json -q\n"
    "  phidias run -m phi-2 --prompts questions.jsonl --prompt-format qa --parallel 16 > answers.jsonl\n";

Result<std::string> PromptText(const PromptSource& source, bool escapes) {
  ASSIGN_OR_RETURN(std::optional<std::string> prompt, ReadPrompt(source, escapes, kMaxPromptBytes));
  if (!source.text.has_value() && prompt.has_value() && prompt->ends_with('\n')) {
    prompt->pop_back();
  }
  if (!prompt.has_value()) {
    return InvalidArgument("no prompt: give it as an argument, with -p, -f or on stdin (see phidias run --help)");
  }
  if (prompt->empty()) {
    return InvalidArgument("the prompt is empty: give at least one character of text to continue");
  }
  return *std::move(prompt);
}

// Passes text on as it comes. Where stdout is broken, generation is asked to stop.
class TextStream {
 public:
  TextStream(bool enabled, std::atomic<bool>* stop) : enabled_(enabled), stop_(stop) {}

  void Write(std::string_view text) {
    if (enabled_ && status_.ok()) {
      status_ = WriteStdout(text);
      newline_ = text.ends_with('\n');
      if (!status_.ok()) {
        stop_->store(true);
      }
    }
  }
  // On a terminal the prompt of the shell belongs on a line of its own; elsewhere the bytes are the text's alone.
  Status Finish() {
    if (enabled_ && status_.ok() && !newline_ && StdoutIsTerminal()) {
      status_ = WriteStdout("\n");
    }
    return status_;
  }

 private:
  bool enabled_;
  bool newline_ = false;
  std::atomic<bool>* stop_;
  Status status_;
};

Status RunOne(const RunFlags& flags) {
  RunReport report;
  RunSetup& setup = report.setup;
  GenerateOptions options;
  ASSIGN_OR_RETURN(options.sequence, SequenceOptionsOf(flags));
  setup.sampling = options.sequence.sampling;
  setup.lookup = flags.lookup;
  ASSIGN_OR_RETURN(const PromptSource source, SplitArguments(flags.prompt));
  ASSIGN_OR_RETURN(setup.model, ChooseModel(source.model));
  ASSIGN_OR_RETURN(const std::string prompt, PromptText(source, flags.prompt.escapes));
  const PromptForm form = FormOf(flags, prompt);

  std::atomic<bool>* const cancel = CatchInterrupts();
  ASSIGN_OR_RETURN(const LoadedModel model, LoadForRun(setup.model, flags, cancel, &setup.load_seconds));
  ASSIGN_OR_RETURN(report.prompt_ids, model.tokenizer->Encode(form.text, form.parse_special));

  options.context = flags.context;
  options.batch = flags.batch;
  options.cancel = cancel;
  TextStream stream(!flags.json, cancel);
  ASSIGN_OR_RETURN(report.result, Generate(model, report.prompt_ids, options,
                                           [&stream](std::string_view text) { stream.Write(text); }));
  setup.backend = model.phi->backend().Describe();  // another one where the card failed
  report.saturated = model.phi->backend().saturated();
  report.card = CardJson(model);
  RETURN_IF_ERROR(stream.Finish());
  if (flags.json) {
    RETURN_IF_ERROR(WriteStdout(JsonLine(SummaryJson(report))));
  }
  if (!flags.quiet) {
    WriteStderr(SummaryText(report));
  }
  return WasInterrupted() ? Status(StatusCode::kCancelled, "") : Status();
}

}  // namespace

int RunVerb(std::span<const std::string> arguments) {
  CLI::App app("Continue a text with a model.", "phidias run");
  RunFlags flags;
  AddRunFlags(app, &flags);
  SetHelp(app, kUsage, kExamples);
  if (const auto code = ParseArguments(app, "run", arguments)) {
    return *code;
  }
  const Status status = flags.prompts.has_value() ? RunMany(flags) : RunOne(flags);
  return status.ok() ? kExitOk : Fail("run", status);
}

}  // namespace phidias::cli
