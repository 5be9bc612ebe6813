// phidias quantize: a checkpoint in int8 or 4 bits.

#include <algorithm>
#include <cstdio>

#include "cli/calibration_flags.h"
#include "cli/flags.h"
#include "cli/interrupt.h"
#include "cli/model_option.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/quantize_plan.h"
#include "cli/rank_run.h"
#include "cli/scheme_flags.h"
#include "cli/verbs.h"
#include "common/file.h"
#include "quant/checkpoint_writer.h"
#include "quant/gptq_run.h"
#include "quant/output_dir.h"
#include "quant/plan.h"
#include "quant/plan_state.h"
#include "quant/rank_calibration.h"

namespace phidias::cli {
namespace {

constexpr const char* kUsage = "phidias quantize [OPTIONS] [MODEL] --calibration FILE -o DIR";
constexpr const char* kExamples =
    "Writes DIR, a checkpoint in compressed-tensors' int-quantized form that this program and others load. The recipe\n"
    "`best` (symmetric weights per channel, SmoothQuant searched per layer, clipped static inputs) loses least; "
    "`report`\n"
    "is the source report's. With --weights-bits 4 (recipe `best4`: GPTQ) the form is pack-quantized. An interrupted\n"
    "calibration, and GPTQ after it, go on where they were when the same command is given again.\n"
    "\n"
    "Examples:\n"
    "  phidias quantize phi-2 --calibration train.jsonl -o phi-2-int8\n"
    "  phidias quantize phi-2 --recipe report --calibration train.jsonl --samples 1024 -o phi-2-report\n"
    "  phidias quantize phi-2 --calibration train.jsonl --arith integer --lm-head int8 -o phi-2-integer\n"
    "  phidias quantize phi-2 --weights-bits 4 --group 64 --calibration train.jsonl --samples 128 -o phi-2-int4\n"
    "  phidias quantize phi-2 --weights-bits 4 --bits-auto 1 --calibration train.jsonl --samples 160 -o phi-2-mixed\n"
    "  phidias quantize phi-2 --activations dynamic --smooth none -o phi-2-dynamic     (needs no calibration)\n";

struct QuantizeFlags {
  ModelOption model;
  SchemeFlags scheme;
  CalibrationFlags calibration;
  std::optional<std::string> output;
  std::optional<std::string> bits_auto;
  int64_t bits_rows = 32;
  Arithmetic arithmetic = Arithmetic::kFloat;
  CpuOptions cpu;
  bool force = false;
  bool quiet = false;
};

void AddFlags(CLI::App& app, QuantizeFlags* flags) {
  AddModelOption(app, &flags->model);
  AddText(app, "-o,--output", &flags->output, "the directory to write")->type_name("DIR")->required();
  AddSchemeFlags(app, &flags->scheme);
  AddCalibrationFlags(app, &flags->calibration, false, true);
  AddText(app, "--bits-auto", &flags->bits_auto,
          "of 4 bits: leave the worst layers at 8 until the perplexity\nrises by at most so many per cent")
      ->type_name("PERCENT");
  AddInteger(app, "--bits-rows", &flags->bits_rows, 1, 1 << 20, nullptr,
             "calibration rows, the last ones, that it is measured on (32)");
  AddArithmeticFlag(app, &flags->arithmetic);
  AddCpuFlags(app, &flags->cpu);
  AddFastFloatFlag(app, &flags->cpu);
  app.add_flag("--force", flags->force, "replace a checkpoint that DIR holds");
  app.add_flag("-q,--quiet", flags->quiet, "nothing on stderr but errors");
}

// Memory by part, before and after.
std::string MemoryTable(const WrittenCheckpoint& written, const PhiConfig& config) {
  std::string out = "part                before         after\n";
  int64_t before = 0;
  int64_t after = 0;
  char line[96];
  const auto row = [&](const char* name, int64_t source, int64_t bytes) {
    std::snprintf(line, sizeof line, "%-12s %13s %13s\n", name, HumanBytes(static_cast<uint64_t>(source)).c_str(),
                  HumanBytes(static_cast<uint64_t>(bytes)).c_str());
    out += line;
  };
  for (size_t i = 0; i < written.bytes.size(); ++i) {
    row(OutputPartName(static_cast<OutputPart>(i)), written.source_bytes[i], written.bytes[i]);
    before += written.source_bytes[i];
    after += written.bytes[i];
  }
  row("all", before, after);
  if (config.n_layers == 32 && config.hidden_size == 2560 && config.vocab_size == 51200) {
    out +=
        "The source report gives 5.86 GB and 3.18 GB for Phi-2: 0.30 GB and 0.14 GB more than the shape explains\n"
        "(5.56 GB in float16, 3.04 GB with int8 linear layers).\n";
  }
  return out;
}

// Refused before hours of work, not after.
Status CheckOutput(const QuantizeFlags& flags, const std::string& source) {
  return OutputDir::Create(*flags.output, flags.force, source).status();
}

Status Run(const QuantizeFlags& flags, Ranks& ranks) {
  const bool speaks = ranks.rank() == 0;
  const bool notes = speaks && !flags.quiet;
  const std::atomic<bool>* const cancel = CatchInterrupts();
  ASSIGN_OR_RETURN(QuantScheme scheme, SchemeOf(flags.scheme));
  scheme.integer = flags.arithmetic == Arithmetic::kInteger;
  RETURN_IF_ERROR(ValidateScheme(scheme));
  ASSIGN_OR_RETURN(const std::string path, ChooseModel(flags.model));
  if (speaks) {
    RETURN_IF_ERROR(CheckOutput(flags, path));
  }
  ASSIGN_OR_RETURN(const LoadedModel model,
                   LoadWithNotes({.path = path, .cpu = flags.cpu, .need_tokenizer = true}, notes));
  RETURN_IF_ERROR(CheckNotQuantized(*model.checkpoint));
  const std::string state_path = *flags.output + (flags.cpu.fast_float ? ".fast-float" : "") + ".calibration.state";
  ThreadPool pool(flags.cpu.threads > 0 ? flags.cpu.threads : AvailableProcessors());
  const PlanningFlags planning = {.calibration = flags.calibration,
                                  .bits_auto = flags.bits_auto,
                                  .bits_rows = flags.bits_rows,
                                  .cpu = flags.cpu,
                                  .state_path = state_path,
                                  .notes = notes};
  ASSIGN_OR_RETURN(const Planned planned, MakePlan(planning, scheme, model, &pool, cancel, ranks));
  if (speaks) {
    ProgressBar bar("writing", "bytes", notes);
    WriteOptions options;
    options.force = flags.force;
    options.calibration = planned.note;
    options.shards.cancel = cancel;
    options.shards.progress = [&bar](int64_t done, int64_t total) { bar.Update(done, total); };
    const Result<WrittenCheckpoint> written =
        WriteQuantizedCheckpoint(*model.checkpoint, planned.plan, *flags.output, options, &pool);
    bar.Clear();
    RETURN_IF_ERROR(written.status());
    if (notes) {
      WriteStderr(StrCat(DescribeScheme(planned.plan.scheme), "\n", MemoryTable(*written, model.phi->config())));
    }
  }
  // Every rank keeps its part of the calibration until the model is safe.
  RETURN_IF_ERROR(ranks.Exchange("written", cancel).status());
  RemoveCalibrationState(state_path, ranks);
  if (speaks) {
    RemovePlanState(state_path, model.phi->config().n_layers);
  }
  if (speaks && scheme.weights == RangeKind::kGptq) {
    RemoveGptqState(state_path, model.phi->config().n_layers);
  }
  return {};
}

}  // namespace

int QuantizeVerb(std::span<const std::string> arguments) {
  CLI::App app("Quantises a model's linear layers to 8 or 4 bits and writes it as a checkpoint.", "phidias quantize");
  QuantizeFlags flags;
  AddFlags(app, &flags);
  SetHelp(app, kUsage, kExamples);
  if (const auto code = ParseArguments(app, "quantize", arguments)) {
    return *code;
  }
  return RunOnRanks("quantize", [&flags](Ranks& ranks) { return Run(flags, ranks); });
}

}  // namespace phidias::cli
