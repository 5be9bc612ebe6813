#include "cli/run_flags.h"

#include <chrono>
#include <limits>
#include <utility>

#include "cli/flags.h"
#include "cli/model_option.h"

namespace phidias::cli {
namespace {

constexpr int64_t kMaxTokens = std::numeric_limits<int32_t>::max();
constexpr int64_t kMaxParallel = 1024;

void AddManyFlags(CLI::App& app, RunFlags* flags) {
  AddText(
      app, "--prompts", &flags->prompts,
      "a prompt for each line of FILE (- is stdin): text, or JSON\nlines with \"prompt\" and perhaps \"id\", \"seed\", "
      "\"max_tokens\";\nstdout gets one line of JSON for each, in the file's order")
      ->type_name("FILE");
  AddInteger(app, "--parallel", &flags->parallel, 1, kMaxParallel, "PHIDIAS_PARALLEL",
             "of --prompts, how many run at a time (8); each has a context\nof its own in "
             "memory, and says what it would say alone");
}

}  // namespace

void AddRunFlags(CLI::App& app, RunFlags* flags) {
  AddPromptOption(app, &flags->prompt);
  AddManyFlags(app, flags);
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
  AddInteger(app, "-b,--batch-size", &flags->batch, 1, 1 << 20, "PHIDIAS_BATCH_SIZE", "tokens in one step (512)");
  AddInteger(
      app, "--lookup", &flags->lookup, 0, kMaxLookup, "PHIDIAS_LOOKUP",
      "tokens to guess ahead from what the text already says and\ncheck in one step: the same text, sooner where it "
      "repeats\nitself; 0 (default): off");
  app.add_flag("--ignore-eos", flags->ignore_eos, "never end the text before -n or the context does");
  app.add_option("--stop", flags->stop, "end before this text appears; may be repeated")
      ->type_name("TEXT")
      ->allow_extra_args(false)
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  AddSamplingFlags(app, &flags->sampling);
  AddCpuFlags(app, &flags->cpu);
  AddKvCacheFlag(app, &flags->cpu);
  AddFastFloatFlag(app, &flags->cpu);
  AddArithmeticFlag(app, &flags->arithmetic);
  AddLoadFlag(app, &flags->load);
  AddDeviceFlags(app, &flags->device);
  app.add_flag("--json", flags->json, "one JSON object on stdout at the end instead of the text");
  app.add_flag("-q,--quiet", flags->quiet, "no summary on stderr");
}

PromptForm FormOf(const RunFlags& flags, std::string_view text) {
  return FormatPrompt(PromptFormatOf(flags.format).value_or(PromptFormat::kRaw), text);
}

Result<SequenceOptions> SequenceOptionsOf(const RunFlags& flags) {
  SequenceOptions options;
  ASSIGN_OR_RETURN(options.sampling, ResolveSampling(flags.sampling));
  for (const std::string& text : flags.stop) {
    if (text.empty()) {
      return InvalidArgument("--stop: the text is empty");
    }
    options.stop.push_back(text);
    if (flags.prompt.escapes) {
      ASSIGN_OR_RETURN(options.stop.back(), ProcessEscapes(text));
    }
  }
  const std::vector<std::string> form_stop = FormOf(flags, "").stop;
  options.stop.insert(options.stop.end(), form_stop.begin(), form_stop.end());
  options.max_new_tokens = flags.predict;
  options.ignore_eos = flags.ignore_eos;
  options.lookup = flags.lookup;
  return options;
}

Result<LoadedModel> LoadForRun(const std::string& path, const RunFlags& flags, const std::atomic<bool>* cancel,
                               double* seconds) {
  const auto start = std::chrono::steady_clock::now();
  LoadOptions options = {
      .path = path, .cpu = flags.cpu, .need_tokenizer = true, .arithmetic = flags.arithmetic, .load = flags.load};
  RETURN_IF_ERROR(ChooseDevice(flags.device, cancel, &options));
  ASSIGN_OR_RETURN(LoadedModel model, LoadWithNotes(options, !flags.quiet));
  *seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return model;
}

}  // namespace phidias::cli
