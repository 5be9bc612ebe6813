// phidias damage: where quantising hurts.

#include "quant/damage.h"
#include "cli/calibration_flags.h"
#include "cli/data_flags.h"
#include "cli/exit_code.h"
#include "cli/flags.h"
#include "cli/interrupt.h"
#include "cli/model_option.h"
#include "cli/output.h"
#include "cli/output_directory.h"
#include "cli/progress.h"
#include "cli/rank_run.h"
#include "cli/scheme_flags.h"
#include "cli/verbs.h"
#include "common/thread_pool.h"
#include "quant/damage_report.h"
#include "quant/gptq_run.h"
#include "quant/perplexity_state.h"

namespace phidias::cli {
namespace {

constexpr const char* kUsage = "phidias damage [OPTIONS] [MODEL] --data FILE --calibration FILE";
constexpr const char* kExamples =
    "For every linear layer: the signal to quantisation noise ratio and the cosine of its output, with the float "
    "model's\n"
    "own input; and the perplexity when only one layer is quantised. Layers that hurt can be left in float (--skip).\n"
    "\n"
    "Examples:\n"
    "  phidias damage phi-2 --data test.jsonl --samples 64 --calibration train.jsonl -o damage\n"
    "  phidias damage phi-2 --data test.jsonl --samples 16 --recipe report --calibration train.jsonl --alone linear\n";

struct DamageFlags {
  ModelOption model;
  DataFlags data;
  CalibrationFlags calibration;
  SchemeFlags scheme;
  int64_t probe_rows = 32;
  std::string alone = "layer";
  std::optional<std::string> output;
  int64_t batch = 1024;
  CpuOptions cpu;
  bool json = false;
  bool quiet = false;
};

void AddFlags(CLI::App& app, DamageFlags* flags) {
  AddModelOption(app, &flags->model);
  AddDataFlags(app, &flags->data);
  AddCalibrationFlags(app, &flags->calibration, true);
  AddInteger(app, "--probe-rows", &flags->probe_rows, 1, 1 << 20, nullptr,
             "calibration rows that outputs are compared over (32)");
  app.add_option("--alone", flags->alone, "what is quantised alone for its perplexity: layer (default),\nlinear, none")
      ->type_name("UNIT")
      ->check(CLI::IsMember({"none", "layer", "linear"}));
  AddText(app, "-o,--output", &flags->output, "also write damage.md, damage.html (plots) and damage.json there")
      ->type_name("DIR");
  AddInteger(app, "-b,--batch-size", &flags->batch, 1, 1 << 20, "PHIDIAS_BATCH_SIZE",
             "tokens in one step (1024); rows share steps");
  AddSchemeFlags(app, &flags->scheme);
  AddCpuFlags(app, &flags->cpu);
  app.add_flag("--json", flags->json, "JSON on stdout instead of tables");
  app.add_flag("-q,--quiet", flags->quiet, "nothing on stderr but errors");
}

DamageUnit UnitOf(const DamageFlags& flags) {
  if (flags.alone == "none") {
    return DamageUnit::kNone;
  }
  return flags.alone == "layer" ? DamageUnit::kLayer : DamageUnit::kLinear;
}

Status WriteReports(const DamageFlags& flags, const DamageResult& result, const DamageFacts& facts) {
  if (flags.output.has_value()) {
    RETURN_IF_ERROR(WriteWholeFile(*flags.output + "/damage.md", DamageMarkdown(result, facts)));
    RETURN_IF_ERROR(WriteWholeFile(*flags.output + "/damage.json", DamageJson(result, facts)));
    RETURN_IF_ERROR(WriteWholeFile(*flags.output + "/damage.html", DamageHtml(result, facts)));
  }
  return WriteStdout(flags.json ? DamageJson(result, facts) : DamageMarkdown(result, facts));
}

Result<QuantPlan> PlanOf(const Checkpoint& source, const Calibrated& calibrated, const QuantScheme& scheme,
                         const DamageFlags& flags, const std::atomic<bool>* cancel, ThreadPool* pool, bool notes) {
  ASSIGN_OR_RETURN(QuantPlan plan, MakeQuantPlan(source, &calibrated.stats, scheme, pool));
  if (scheme.weights == RangeKind::kGptq) {
    ProgressBar bar("gptq", "layers", notes);
    GptqOptions options;
    options.cpu = flags.cpu;
    options.cancel = cancel;
    options.progress = [&bar](int64_t done, int64_t total) { bar.Update(done, total); };
    RETURN_IF_ERROR(RunGptq(source, calibrated.dataset.rows, options, pool, &plan));
  }
  return plan;
}

Status Run(const DamageFlags& flags, Ranks& ranks) {
  const bool speaks = ranks.rank() == 0;
  const bool notes = speaks && !flags.quiet;
  const std::atomic<bool>* const cancel = CatchInterrupts();
  ASSIGN_OR_RETURN(const QuantScheme scheme, SchemeOf(flags.scheme));
  ASSIGN_OR_RETURN(const std::string path, ChooseModel(flags.model));
  if (flags.output.has_value()) {
    RETURN_IF_ERROR(MakeDirectory(*flags.output));
  }
  ASSIGN_OR_RETURN(const LoadedModel model,
                   LoadWithNotes({.path = path, .cpu = flags.cpu, .need_tokenizer = true}, notes));
  RETURN_IF_ERROR(CheckRowLength(flags.data, model.phi->config()));
  ASSIGN_OR_RETURN(const Dataset data, LoadDataset(*model.tokenizer, *flags.data.path, OptionsOf(flags.data)));
  if (notes) {
    WriteStderr(DatasetNotes(data, flags.data.samples));
  }
  ASSIGN_OR_RETURN(const Calibrated calibrated,
                   RunCalibration(flags.calibration, model, SampleTokensFor(scheme), "", notes, cancel, ranks));
  ThreadPool pool(flags.cpu.threads > 0 ? flags.cpu.threads : AvailableProcessors());
  ASSIGN_OR_RETURN(const QuantPlan plan, PlanOf(*model.checkpoint, calibrated, scheme, flags, cancel, &pool, notes));

  ProgressBar bar("damage", "tokens", notes);
  DamageOptions options;
  options.unit = UnitOf(flags);
  options.batch = flags.batch;
  options.cpu = flags.cpu;
  options.cancel = cancel;
  options.ranks = &ranks;
  options.starts = [&bar](const std::string& what, size_t index, size_t count) {
    bar.SetLabel(StrCat(index + 1, "/", count, " ", what));
  };
  options.progress = [&bar](int64_t done, int64_t total) { bar.Update(done, total); };
  const std::span probe(calibrated.dataset.rows);
  const auto probe_rows = std::min(probe.size(), static_cast<size_t>(flags.probe_rows));
  const Result<DamageResult> result =
      MeasureDamage(*model.checkpoint, plan, probe.first(probe_rows), WholeRows(data), options);
  bar.Clear();
  RETURN_IF_ERROR(result.status());
  if (!speaks) {
    return {};
  }
  return WriteReports(flags, *result,
                      {.model = path,
                       .scheme = DescribeScheme(scheme),
                       .data = *flags.data.path,
                       .probe_rows = static_cast<int64_t>(probe_rows),
                       .probe_data = *flags.calibration.path});
}

}  // namespace

int DamageVerb(std::span<const std::string> arguments) {
  CLI::App app("Where quantising hurts, layer by layer.", "phidias damage");
  DamageFlags flags;
  AddFlags(app, &flags);
  SetHelp(app, kUsage, kExamples);
  if (const auto code = ParseArguments(app, "damage", arguments)) {
    return *code;
  }
  return RunOnRanks("damage", [&flags](Ranks& ranks) { return Run(flags, ranks); });
}

}  // namespace phidias::cli
