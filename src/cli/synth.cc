// phidias synth: a checkpoint of a given shape with random weights.

#include <chrono>
#include <cstdio>
#include <limits>

#include "cli/exit_code.h"
#include "cli/flags.h"
#include "cli/interrupt.h"
#include "cli/model_option.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/shape_option.h"
#include "cli/verbs.h"
#include "quant/synthetic.h"

namespace phidias::cli {
namespace {

constexpr const char* kUsage = "phidias synth [OPTIONS] --shape SHAPE -o DIR";
constexpr const char* kExamples =
    "Writes DIR, a checkpoint with the tensors, types and sizes of a real one and random weights: for measuring speed "
    "and\n"
    "memory. Its text is noise. int8 and int4 are what `phidias quantize` writes (linear layers in 8 or 4 bits, "
    "embedding\n"
    "and lm_head in float16) and run in both arithmetics. The same seed gives the same bytes on every machine.\n"
    "\n"
    "Examples:\n"
    "  phidias synth --shape phi-2 --dtype int8 -o synth-phi-2\n"
    "  phidias synth --shape phi-2 --dtype int4 --group 64 -o synth-phi-2-int4\n"
    "  phidias synth --shape my/config.json --seed 7 -o synth\n";

struct SynthFlags {
  std::optional<std::string> shape;
  std::string dtype = "int8";
  int64_t group = 32;
  std::optional<std::string> tokenizer;
  std::optional<std::string> output;
  int64_t seed = 0;
  CpuOptions cpu;
  bool force = false;
  bool quiet = false;
};

void AddFlags(CLI::App& app, SynthFlags* flags) {
  AddText(app, "--shape", &flags->shape, kShapeHelp)->required();
  app.add_option("--dtype", flags->dtype, "of the linear layers: int8 (default), int4 or f16")
      ->type_name("TYPE")
      ->check(CLI::IsMember({"f16", "int8", "int4"}));
  app.add_option("--group", flags->group, "of int4: inputs that share a scale, 32 (default), 64 or 128")
      ->type_name("N")
      ->check(CLI::IsMember({32, 64, 128}));
  AddText(app, "-o,--output", &flags->output, "the directory to write")->type_name("DIR")->required();
  AddText(
      app, "--tokenizer", &flags->tokenizer,
      "directory of the tokenizer that is copied; default: the one\nbeside config.json, else the demo model's where "
      "it fits")
      ->type_name("DIR");
  AddInteger(app, "-s,--seed", &flags->seed, 0, std::numeric_limits<int64_t>::max(), "PHIDIAS_SEED",
             "of the random weights (0)");
  AddThreadsFlag(app, &flags->cpu);
  app.add_flag("--force", flags->force, "replace a checkpoint that DIR holds");
  app.add_flag("-q,--quiet", flags->quiet, "nothing on stderr but errors");
}

bool Fits(const std::string& directory, const PhiConfig& config) {
  const Result<Tokenizer> tokenizer = Tokenizer::Load(directory);
  return tokenizer.ok() && tokenizer->size() <= config.vocab_size;
}

// The directory whose tokenizer the checkpoint gets, "" for none.
std::string ChooseTokenizer(const SynthFlags& flags, const Shape& shape) {
  if (flags.tokenizer.has_value()) {
    return *flags.tokenizer;
  }
  if (!shape.directory.empty() && Fits(shape.directory, shape.config)) {
    return shape.directory;
  }
  const Result<std::string> demo = DemoModel();
  return demo.ok() && Fits(*demo, shape.config) ? *demo : "";
}

std::string Summary(const WrittenSynthetic& written, const std::string& path, double seconds) {
  char time[32];
  std::snprintf(time, sizeof time, "%.1f s", seconds);
  return StrCat(path, ": ", written.parameters, " parameters, ", HumanBytes(static_cast<uint64_t>(written.bytes)),
                written.files == 1 ? " in one file, " : StrCat(" in ", written.files, " files, "), time, "\n");
}

Status Synth(const SynthFlags& flags) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point start = Clock::now();
  ASSIGN_OR_RETURN(const Shape shape, ReadShape(*flags.shape));
  SyntheticOptions options;
  options.type = flags.dtype == "int8"   ? SyntheticType::kInt8
                 : flags.dtype == "int4" ? SyntheticType::kInt4
                                         : SyntheticType::kF16;
  options.group = flags.group;
  options.seed = static_cast<uint64_t>(flags.seed);
  options.tokenizer = ChooseTokenizer(flags, shape);
  options.force = flags.force;
  options.shards.cancel = CatchInterrupts();
  ProgressBar bar("writing", "bytes", !flags.quiet);
  options.shards.progress = [&bar](int64_t done, int64_t total) { bar.Update(done, total); };
  ThreadPool pool(flags.cpu.threads > 0 ? flags.cpu.threads : AvailableProcessors());
  const Result<WrittenSynthetic> written = WriteSynthetic(shape.config, *flags.output, options, &pool);
  bar.Clear();
  RETURN_IF_ERROR(written.status());
  if (!flags.quiet) {
    WriteStderr(Summary(*written, *flags.output, std::chrono::duration<double>(Clock::now() - start).count()));
    if (options.tokenizer.empty()) {
      WriteStderr(
          "no tokenizer fits this vocabulary: `bench` and `trace --ids` run without one, `run` doesn't "
          "(see --tokenizer)\n");
    }
  }
  return {};
}

}  // namespace

int SynthVerb(std::span<const std::string> arguments) {
  CLI::App app("Writes a checkpoint with random weights.", "phidias synth");
  SynthFlags flags;
  AddFlags(app, &flags);
  SetHelp(app, kUsage, kExamples);
  if (const auto code = ParseArguments(app, "synth", arguments)) {
    return *code;
  }
  const Status status = Synth(flags);
  return status.ok() ? kExitOk : Fail("synth", status);
}

}  // namespace phidias::cli
