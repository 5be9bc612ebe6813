// phidias run: continue a text.

#include <chrono>
#include <limits>

#include "cli/device_flags.h"
#include "cli/exit_code.h"
#include "cli/flags.h"
#include "cli/interrupt.h"
#include "cli/model_option.h"
#include "cli/output.h"
#include "cli/prompt.h"
#include "cli/sampling_flags.h"
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
    "  echo \"def fib(n):\" | phidias run -m phi-2 --json -q\n";

constexpr size_t kMaxPromptBytes = size_t{64} << 20;
constexpr int64_t kMaxTokens = std::numeric_limits<int32_t>::max();

struct RunFlags {
  PromptOption prompt;
  std::string format = "raw";
  CpuOptions cpu;
  Arithmetic arithmetic = Arithmetic::kFloat;
  WeightLoad load = WeightLoad::kAuto;
  DeviceFlags device;
  SamplingFlags sampling;
  int64_t predict = 128;
  int64_t context = 0;
  int64_t batch = 512;
  bool ignore_eos = false;
  std::vector<std::string> stop;
  bool json = false;
  bool quiet = false;
};

void AddFlags(CLI::App& app, RunFlags* flags) {
  AddPromptOption(app, &flags->prompt);
  app.add_option(
         "--prompt-format", flags->format,
         "raw (default): the prompt as it is;\nqa: \"Instruct: PROMPT\\nOutput:\"; chat: \"Alice: PROMPT\\nBob:\"\n"
         "(with their stop strings; special tokens are plain text)")
      ->type_name("FORMAT")
      ->envname("PHIDIAS_PROMPT_FORMAT")
      ->check(CLI::IsMember({"raw", "qa", "chat"}));
  AddInteger(app, "-n,--predict,--n-predict", &flags->predict, -1, kMaxTokens, "PHIDIAS_PREDICT",
             "tokens to generate (128); -1: until the text ends\nor the context is full");
  AddInteger(app, "-c,--ctx-size", &flags->context, 0, kMaxTokens, "PHIDIAS_CTX_SIZE",
             "positions of the context; 0 (default): as many as needed,\nat most the model's own limit");
  AddInteger(app, "-b,--batch-size", &flags->batch, 1, 1 << 20, "PHIDIAS_BATCH_SIZE",
             "prompt tokens in one step (512)");
  app.add_flag("--ignore-eos", flags->ignore_eos, "never end the text before -n or the context does");
  app.add_option("--stop", flags->stop, "end before this text appears; may be repeated")
      ->type_name("TEXT")
      ->allow_extra_args(false)
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  AddSamplingFlags(app, &flags->sampling);
  AddCpuFlags(app, &flags->cpu);
  AddArithmeticFlag(app, &flags->arithmetic);
  AddLoadFlag(app, &flags->load);
  AddDeviceFlags(app, &flags->device);
  app.add_flag("--json", flags->json, "one JSON object on stdout at the end instead of the text");
  app.add_flag("-q,--quiet", flags->quiet, "no summary on stderr");
}

// A prompt form that Phi-2 was trained on, and the strings that begin somebody else's turn.
struct PromptForm {
  std::string text;
  bool parse_special = true;  // text from a user of a chat is text, whatever it spells
  std::vector<std::string> stop;
};

PromptForm FormatPrompt(const std::string& format, const std::string& prompt) {
  if (format == "qa") {
    return {"Instruct: " + prompt + "\nOutput:", false, {"\nInstruct:"}};
  }
  if (format == "chat") {
    return {"Alice: " + prompt + "\nBob:", false, {"\nAlice:", "\nBob:"}};
  }
  return {prompt, true, {}};
}

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

Result<std::vector<std::string>> StopStrings(const RunFlags& flags) {
  std::vector<std::string> stop;
  for (const std::string& text : flags.stop) {
    if (text.empty()) {
      return InvalidArgument("--stop: the text is empty");
    }
    stop.push_back(text);
    if (flags.prompt.escapes) {
      ASSIGN_OR_RETURN(stop.back(), ProcessEscapes(text));
    }
  }
  return stop;
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

Result<LoadedModel> Load(const std::string& path, const RunFlags& flags, const std::atomic<bool>* cancel,
                         double* seconds) {
  const auto start = std::chrono::steady_clock::now();
  LoadOptions options = {
      .path = path, .cpu = flags.cpu, .need_tokenizer = true, .arithmetic = flags.arithmetic, .load = flags.load};
  RETURN_IF_ERROR(ChooseDevice(flags.device, cancel, &options));
  ASSIGN_OR_RETURN(LoadedModel model, LoadWithNotes(options, !flags.quiet));
  *seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return model;
}

Status Run(const RunFlags& flags) {
  RunReport report;
  ASSIGN_OR_RETURN(report.sampling, ResolveSampling(flags.sampling));
  ASSIGN_OR_RETURN(std::vector<std::string> stop, StopStrings(flags));
  ASSIGN_OR_RETURN(const PromptSource source, SplitArguments(flags.prompt));
  ASSIGN_OR_RETURN(report.model, ChooseModel(source.model));
  ASSIGN_OR_RETURN(const std::string prompt, PromptText(source, flags.prompt.escapes));
  const PromptForm form = FormatPrompt(flags.format, prompt);
  stop.insert(stop.end(), form.stop.begin(), form.stop.end());

  std::atomic<bool>* const cancel = CatchInterrupts();
  ASSIGN_OR_RETURN(const LoadedModel model, Load(report.model, flags, cancel, &report.load_seconds));
  ASSIGN_OR_RETURN(report.prompt_ids, model.tokenizer->Encode(form.text, form.parse_special));

  GenerateOptions options;
  options.context = flags.context;
  options.batch = flags.batch;
  options.sequence.sampling = report.sampling;
  options.sequence.max_new_tokens = flags.predict;
  options.sequence.stop = std::move(stop);
  options.sequence.ignore_eos = flags.ignore_eos;
  options.cancel = cancel;
  TextStream stream(!flags.json, cancel);
  ASSIGN_OR_RETURN(report.result, Generate(model, report.prompt_ids, options,
                                           [&stream](std::string_view text) { stream.Write(text); }));
  report.backend = model.phi->backend().Describe();  // another one where the card failed
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
  AddFlags(app, &flags);
  SetHelp(app, kUsage, kExamples);
  if (const auto code = ParseArguments(app, "run", arguments)) {
    return *code;
  }
  const Status status = Run(flags);
  return status.ok() ? kExitOk : Fail("run", status);
}

}  // namespace phidias::cli
