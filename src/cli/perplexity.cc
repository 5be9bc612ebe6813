// phidias perplexity: how well a model predicts a text.

#include <cstdio>
#include <limits>

#include "cli/data_flags.h"
#include "cli/exit_code.h"
#include "cli/flags.h"
#include "cli/interrupt.h"
#include "cli/json.h"
#include "cli/model_option.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/rank_run.h"
#include "cli/summary.h"
#include "cli/verbs.h"
#include "engine/loaded_model.h"
#include "quant/fingerprint.h"
#include "quant/perplexity.h"

namespace phidias::cli {
namespace {

constexpr const char* kUsage = "phidias perplexity [OPTIONS] [MODEL] --data FILE";
constexpr const char* kExamples =
    "exp of the mean negative log-likelihood of all predicted tokens. Each row stands alone and is cut to "
    "--max-tokens;\n"
    "chats (\"messages\") are rendered \"Instruct: ...\\n\" and \"Output: ...\\n\". With --stride the file is one "
    "long\n"
    "text: windows of --max-tokens move over it, and each token is scored once, with as much before it as fits.\n"
    "The result doesn't depend on threads, batch or ranks: mpirun -n 4 phidias perplexity ... gives the same digits.\n"
    "\n"
    "Examples:\n"
    "  phidias perplexity phi-2 --data test.jsonl --samples 512\n"
    "  phidias perplexity phi-2 --data wiki.test.txt --max-tokens 2048 --stride 512 --json\n";

struct PerplexityFlags {
  ModelOption model;
  DataFlags data;
  int64_t stride = 0;
  int64_t batch = 1024;
  std::optional<std::string> state;
  CpuOptions cpu;
  Arithmetic arithmetic = Arithmetic::kFloat;
  WeightLoad load = WeightLoad::kAuto;
  bool json = false;
  bool quiet = false;
};

void AddFlags(CLI::App& app, PerplexityFlags* flags) {
  AddModelOption(app, &flags->model);
  AddDataFlags(app, &flags->data);
  AddInteger(app, "--stride", &flags->stride, 0, std::numeric_limits<int32_t>::max(), nullptr,
             "sliding windows that move by N tokens; 0 (default): rows");
  AddInteger(app, "-b,--batch-size", &flags->batch, 1, 1 << 20, "PHIDIAS_BATCH_SIZE",
             "tokens in one step (1024); rows share steps");
  AddText(app, "--state", &flags->state, "keep finished rows here, and go on from there after an\ninterruption")
      ->type_name("FILE");
  AddCpuFlags(app, &flags->cpu);
  AddArithmeticFlag(app, &flags->arithmetic);
  AddLoadFlag(app, &flags->load);
  app.add_flag("--json", flags->json, "one JSON object on stdout");
  app.add_flag("-q,--quiet", flags->quiet, "nothing on stderr but errors");
}

// The rows to score, and the ids that they view.
struct Work {
  Dataset dataset;
  std::vector<int32_t> stream;
  std::vector<ScoredRow> rows;
};

Result<Work> LoadWork(const PerplexityFlags& flags, const Tokenizer& tokenizer) {
  Work work;
  if (flags.stride > 0) {
    if (flags.data.seed >= 0) {
      return InvalidArgument("--seed chooses rows, but with --stride the file is one text; leave one of them out");
    }
    ASSIGN_OR_RETURN(work.stream, LoadStream(tokenizer, *flags.data.path, flags.data.samples, FormatOf(flags.data)));
    ASSIGN_OR_RETURN(work.rows, SlidingWindows(work.stream, flags.data.max_tokens, flags.stride));
    return work;
  }
  ASSIGN_OR_RETURN(work.dataset, LoadDataset(tokenizer, *flags.data.path, OptionsOf(flags.data)));
  work.rows = WholeRows(work.dataset);
  return work;
}

Json ReportJson(const PerplexityFlags& flags, const std::string& model, const Phi& phi, const Work& work,
                const PerplexityResult& result, int ranks) {
  Json json = {{"perplexity", result.perplexity}, {"nll", result.nll}, {"tokens", result.tokens}};
  json["standard_error"] = result.standard_error.has_value() ? Json(*result.standard_error) : Json();
  json["seconds"] = result.seconds;
  json["tokens_per_second"] = PerSecond(result.computed_tokens, result.seconds);
  json["rows"] = work.rows.size();
  json["max_tokens"] = flags.data.max_tokens;
  json["stride"] = flags.stride > 0 ? Json(flags.stride) : Json();
  json["model"] = model;
  json["data"] = *flags.data.path;
  json["backend"] = phi.backend().Describe();
  json["saturated"] = phi.backend().saturated();
  json["ranks"] = ranks;
  return json;
}

std::string ReportText(const PerplexityResult& result, size_t rows, bool windows) {
  char text[256];
  std::snprintf(text, sizeof text, "perplexity %.5f", result.perplexity);
  std::string line = text;
  if (result.standard_error.has_value()) {
    std::snprintf(text, sizeof text, " +- %.5f", *result.standard_error);
    line += text;
  }
  std::snprintf(text, sizeof text, " (%lld tokens in %zu %s)\n", static_cast<long long>(result.tokens), rows,
                windows ? "windows" : "rows");
  return line + text;
}

Status Run(const PerplexityFlags& flags, Ranks& ranks) {
  const bool speaks = ranks.rank() == 0;
  const bool notes = speaks && !flags.quiet;
  ASSIGN_OR_RETURN(const std::string path, ChooseModel(flags.model));
  ASSIGN_OR_RETURN(
      const LoadedModel model,
      LoadWithNotes(
          {.path = path, .cpu = flags.cpu, .need_tokenizer = true, .arithmetic = flags.arithmetic, .load = flags.load},
          notes));
  RETURN_IF_ERROR(CheckRowLength(flags.data, model.phi->config()));
  ASSIGN_OR_RETURN(const Work work, LoadWork(flags, *model.tokenizer));
  if (notes && flags.stride == 0) {
    WriteStderr(DatasetNotes(work.dataset, flags.data.samples));
  }

  ProgressBar bar("perplexity", "tokens", notes);
  PerplexityOptions options{.batch = flags.batch,
                            .cancel = CatchInterrupts(),
                            .progress = {},
                            .ranks = &ranks,
                            .state_path = flags.state.value_or(""),
                            .state_fingerprint = {}};
  options.progress = [&bar](int64_t done, int64_t total) { bar.Update(done, total); };
  if (flags.state.has_value()) {
    // The two arithmetics of one checkpoint are two models.
    options.state_fingerprint =
        CheckpointFingerprint(*model.checkpoint) + (flags.arithmetic == Arithmetic::kInteger ? "-integer" : "-float");
  }
  Result<PerplexityResult> result = Perplexity(*model.phi, work.rows, options);
  bar.Clear();
  RETURN_IF_ERROR(result.status());
  if (!speaks) {
    return {};
  }
  if (notes) {
    char text[160];
    std::snprintf(text, sizeof text, "%lld tokens in %.1f s, %.0f tokens/s, %s\n",
                  static_cast<long long>(result->computed_tokens), result->seconds,
                  PerSecond(result->computed_tokens, result->seconds), model.phi->backend().Describe().c_str());
    WriteStderr(text + SaturationNote(model.phi->backend().saturated()));
  }
  return WriteStdout(flags.json ? JsonLine(ReportJson(flags, path, *model.phi, work, *result, ranks.size()))
                                : ReportText(*result, work.rows.size(), flags.stride > 0));
}

}  // namespace

int PerplexityVerb(std::span<const std::string> arguments) {
  CLI::App app("How well a model predicts a text.", "phidias perplexity");
  PerplexityFlags flags;
  AddFlags(app, &flags);
  SetHelp(app, kUsage, kExamples);
  if (const auto code = ParseArguments(app, "perplexity", arguments)) {
    return *code;
  }
  return RunOnRanks("perplexity", [&flags](Ranks& ranks) { return Run(flags, ranks); });
}

}  // namespace phidias::cli
