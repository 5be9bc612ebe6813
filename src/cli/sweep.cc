// phidias sweep: what each quantisation scheme costs.

#include "quant/sweep.h"
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
#include "cli/verbs.h"
#include "common/file.h"
#include "quant/fingerprint.h"
#include "quant/perplexity_state.h"
#include "quant/rank_calibration.h"
#include "quant/sweep_report.h"

namespace phidias::cli {
namespace {

constexpr const char* kUsage = "phidias sweep [OPTIONS] [MODEL] --data FILE --calibration FILE -o DIR";
constexpr const char* kExamples =
    "Measures the perplexity of every weight scheme with every activation scheme, float in both included, and writes\n"
    "DIR/sweep.md, sweep.csv, sweep.html (a page with plots) and sweep.json. The table also goes to stdout.\n"
    "One calibration serves all. An interrupted sweep goes on with --resume.\n"
    "\n"
    "Examples:\n"
    "  phidias sweep phi-2 --data test.jsonl --samples 512 --calibration train.jsonl -o sweep\n"
    "  mpirun -n 8 phidias sweep phi-2 --data test.jsonl --calibration train.jsonl -o sweep --resume\n";

struct SweepFlags {
  ModelOption model;
  DataFlags data;
  CalibrationFlags calibration;
  std::optional<std::string> output;
  std::string granularity = "both";
  float percentile = 99.9F;
  int64_t batch = 1024;
  CpuOptions cpu;
  bool resume = false;
  bool force = false;
  bool quiet = false;
};

void AddFlags(CLI::App& app, SweepFlags* flags) {
  AddModelOption(app, &flags->model);
  AddDataFlags(app, &flags->data);
  AddCalibrationFlags(app, &flags->calibration, true);
  AddText(app, "-o,--output", &flags->output, "the directory for the results")->type_name("DIR")->required();
  app.add_option("--granularity", flags->granularity, "weight scales per tensor, channel, or both (default)")
      ->type_name("KIND")
      ->check(CLI::IsMember({"tensor", "channel", "both"}));
  AddReal(app, "--percentile", &flags->percentile, 50.001, 100, nullptr, "of the percentile schemes (99.9)");
  AddInteger(app, "-b,--batch-size", &flags->batch, 1, 1 << 20, "PHIDIAS_BATCH_SIZE",
             "tokens in one step (1024); rows share steps");
  auto* const resume = app.add_flag("--resume", flags->resume, "go on with the sweep that DIR holds");
  app.add_flag("--force", flags->force, "start anew over a sweep that DIR holds")->excludes(resume);
  AddCpuFlags(app, &flags->cpu);
  app.add_flag("-q,--quiet", flags->quiet, "nothing on stderr but errors");
}

SweepOptions OptionsFor(const SweepFlags& flags, const std::atomic<bool>* cancel, Ranks& ranks) {
  SweepOptions options;
  if (flags.granularity != "both") {
    options.granularities = {flags.granularity == "tensor" ? Granularity::kTensor : Granularity::kChannel};
  }
  options.percentile = flags.percentile == 99.9F ? 99.9 : static_cast<double>(flags.percentile);
  options.batch = flags.batch;
  options.cpu = flags.cpu;
  options.cancel = cancel;
  options.ranks = &ranks;
  options.state_path = *flags.output + "/sweep.json";
  return options;
}

// A sweep that DIR holds is neither overwritten nor gone on with unasked.
Status PrepareOutput(const SweepFlags& flags, const std::string& state_path, const std::string& calibration_path,
                     const Ranks& ranks) {
  RETURN_IF_ERROR(MakeDirectory(*flags.output));
  if (flags.force) {
    RemoveCalibrationState(calibration_path, ranks);
  }
  if (ranks.rank() != 0 || flags.resume || !FileExists(state_path)) {
    return {};
  }
  if (!flags.force) {
    return InvalidArgument("-o ", Quoted(*flags.output),
                           ": holds a sweep already; --resume goes on with it, --force starts anew");
  }
  return std::remove(state_path.c_str()) == 0 ? Status() : IoError(state_path, ": can't be removed");
}

std::string FingerprintOf(const SweepOptions& options, const LoadedModel& model, const Dataset& data,
                          const CalibrationStats& stats) {
  Fingerprint fingerprint;
  fingerprint.Add(CheckpointFingerprint(*model.checkpoint));
  fingerprint.Add(DatasetFingerprint(data));
  fingerprint.Add(StatsFingerprint(stats));
  fingerprint.Add(std::as_bytes(std::span(&options.percentile, 1)));
  return fingerprint.Hex();
}

Status WriteReports(const std::string& directory, const std::vector<SweepCell>& cells, const SweepFacts& facts) {
  RETURN_IF_ERROR(WriteWholeFile(directory + "/sweep.md", SweepMarkdown(cells, facts)));
  RETURN_IF_ERROR(WriteWholeFile(directory + "/sweep.csv", SweepCsv(cells)));
  return WriteWholeFile(directory + "/sweep.html", SweepHtml(cells, facts));
}

Status Run(const SweepFlags& flags, Ranks& ranks) {
  const bool speaks = ranks.rank() == 0;
  const bool notes = speaks && !flags.quiet;
  const std::atomic<bool>* const cancel = CatchInterrupts();
  SweepOptions options = OptionsFor(flags, cancel, ranks);
  const std::string calibration_path = *flags.output + "/calibration.state";
  ASSIGN_OR_RETURN(const std::string path, ChooseModel(flags.model));
  RETURN_IF_ERROR(PrepareOutput(flags, options.state_path, calibration_path, ranks));
  ASSIGN_OR_RETURN(const LoadedModel model,
                   LoadWithNotes({.path = path, .cpu = flags.cpu, .need_tokenizer = true}, notes));
  RETURN_IF_ERROR(CheckRowLength(flags.data, model.phi->config()));
  ASSIGN_OR_RETURN(const Dataset data, LoadDataset(*model.tokenizer, *flags.data.path, OptionsOf(flags.data)));
  if (notes) {
    WriteStderr(DatasetNotes(data, flags.data.samples));
  }
  ASSIGN_OR_RETURN(const Calibrated calibrated,
                   RunCalibration(flags.calibration, model, 0, calibration_path, notes, cancel, ranks));

  ProgressBar bar("sweep", "tokens", notes);
  options.state_fingerprint = FingerprintOf(options, model, data, calibrated.stats);
  options.starts = [&bar](const SweepScheme& scheme, size_t index, size_t count) {
    bar.SetLabel(StrCat(index + 1, "/", count, " ", DescribeSweepScheme(scheme)));
  };
  options.progress = [&bar](int64_t done, int64_t total) { bar.Update(done, total); };
  const Result<std::vector<SweepCell>> cells = Sweep(model.checkpoint, calibrated.stats, WholeRows(data), options);
  bar.Clear();
  RETURN_IF_ERROR(cells.status());
  RemoveCalibrationState(calibration_path, ranks);
  if (!speaks) {
    return {};
  }
  const SweepFacts facts{.model = path,
                         .data = *flags.data.path,
                         .calibration = *flags.calibration.path,
                         .rows = static_cast<int64_t>(data.rows.size()),
                         .tokens = cells->front().tokens,
                         .calibration_rows = calibrated.stats.rows,
                         .percentile = options.percentile};
  RETURN_IF_ERROR(WriteReports(*flags.output, *cells, facts));
  return WriteStdout(SweepMarkdown(*cells, facts));
}

}  // namespace

int SweepVerb(std::span<const std::string> arguments) {
  CLI::App app("What each quantisation scheme costs in perplexity.", "phidias sweep");
  SweepFlags flags;
  AddFlags(app, &flags);
  SetHelp(app, kUsage, kExamples);
  if (const auto code = ParseArguments(app, "sweep", arguments)) {
    return *code;
  }
  return RunOnRanks("sweep", [&flags](Ranks& ranks) { return Run(flags, ranks); });
}

}  // namespace phidias::cli
