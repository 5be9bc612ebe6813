#include "cli/quantize_plan.h"

#include <algorithm>
#include <cstdio>
#include <span>
#include <utility>
#include <vector>

#include "cli/numbers.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/scheme_flags.h"
#include "quant/auto_bits.h"
#include "quant/gptq_run.h"
#include "quant/perplexity_state.h"

namespace phidias::cli {
namespace {

using Rows = std::span<const std::vector<int32_t>>;

class Planning {
 public:
  Planning(const PlanningFlags& flags, const QuantScheme& scheme, const LoadedModel& model, ThreadPool* pool,
           const std::atomic<bool>* cancel, Ranks& ranks)
      : flags_(flags), scheme_(scheme), model_(model), pool_(pool), cancel_(cancel), ranks_(ranks) {}

  Result<Planned> Run() {
    RETURN_IF_ERROR(ReadBudget());
    Planned planned;
    if (scheme_.NeedsCalibration() || budget_) {
      RETURN_IF_ERROR(Calibrate(&planned.note));
    }
    {
      ProgressBar bar("scales", "layers", flags_.notes);
      PlanOptions options;
      options.progress = [&bar](int64_t done, int64_t total) { bar.Update(done, total); };
      options.cancel = cancel_;
      options.state_path = ranks_.rank() == 0 ? flags_.state_path : "";
      ASSIGN_OR_RETURN(planned.plan, PlanOf(scheme_, options));
    }
    if (ranks_.rank() != 0) {
      return planned;
    }
    const auto all = static_cast<int64_t>(calibrated_ ? calibrated_->dataset.rows.size() : 0);
    const int64_t held_out = budget_ ? std::min(flags_.bits_rows, all) : 0;
    if (budget_ && held_out == all) {
      return InvalidArgument("--bits-rows ", flags_.bits_rows, ": the calibration data has ", all,
                             " rows, and some must be left for --calibration");
    }
    if (scheme_.weights == RangeKind::kGptq) {
      RETURN_IF_ERROR(Gptq(Rows(calibrated_->dataset.rows).first(static_cast<size_t>(all - held_out)), &planned.plan));
    }
    if (budget_) {
      RETURN_IF_ERROR(Choose(Rows(calibrated_->dataset.rows).last(static_cast<size_t>(held_out)), &planned.plan));
    }
    return planned;
  }

 private:
  Status ReadBudget() {
    if (!flags_.bits_auto.has_value()) {
      return {};
    }
    if (scheme_.weight_bits != 4) {
      return InvalidArgument("--bits-auto ", *flags_.bits_auto, ": is of 4-bit weights; add --weights-bits 4");
    }
    const Result<double> percent = ParseReal(*flags_.bits_auto, 0, 1000);
    if (!percent.ok()) {
      return percent.status().WithContext("--bits-auto");
    }
    budget_ = *percent / 100;
    return {};
  }

  Status Calibrate(CalibrationNote* note) {
    if (!flags_.calibration.path.has_value()) {
      return InvalidArgument("--calibration is missing: this scheme (", DescribeScheme(scheme_),
                             ") finds its ranges on rows of text; give a JSONL or text file, or use --activations "
                             "dynamic --smooth none");
    }
    ASSIGN_OR_RETURN(calibrated_, RunCalibration(flags_.calibration, model_, SampleTokensFor(scheme_),
                                                 flags_.state_path, flags_.notes, cancel_, ranks_));
    *note = {.data = *flags_.calibration.path,
             .fingerprint = DatasetFingerprint(calibrated_->dataset),
             .rows = calibrated_->stats.rows,
             .tokens = calibrated_->stats.tokens};
    return {};
  }

  Result<QuantPlan> PlanOf(const QuantScheme& scheme, const PlanOptions& options) {
    return MakeQuantPlan(*model_.checkpoint, calibrated_ ? &calibrated_->stats : nullptr, scheme, pool_, options);
  }

  Status Gptq(Rows rows, QuantPlan* plan) {
    ProgressBar bar("gptq", "layers", flags_.notes);
    GptqOptions options;
    options.cpu = flags_.cpu;
    options.state_path = flags_.state_path;
    options.cancel = cancel_;
    options.progress = [&bar](int64_t done, int64_t total) { bar.Update(done, total); };
    bar.Update(0, static_cast<int64_t>(plan->layers.size()));
    return RunGptq(*model_.checkpoint, rows, options, pool_, plan);
  }

  Status Choose(Rows rows, QuantPlan* plan) {
    QuantScheme eight_scheme = scheme_;
    eight_scheme.weight_bits = 8;
    eight_scheme.eight_bits.clear();
    eight_scheme.weights = scheme_.weights == RangeKind::kGptq ? RangeKind::kSymmetric : scheme_.weights;
    ASSIGN_OR_RETURN(const QuantPlan eight,
                     PlanOf(eight_scheme, {.progress = {}, .cancel = cancel_, .state_path = {}}));
    std::vector<ScoredRow> scored;
    for (const std::vector<int32_t>& row : rows) {
      if (row.size() > 1) {
        scored.push_back({row, 1});
      }
    }
    ProgressBar bar("bits", "tokens", flags_.notes);
    AutoBitsOptions options;
    options.budget = *budget_;
    options.cpu = flags_.cpu;
    options.cancel = cancel_;
    options.starts = [&bar](const std::string& what, size_t /*index*/, size_t /*count*/) {
      bar.SetLabel("bits: " + what);
    };
    options.progress = [&bar](int64_t done, int64_t total) { bar.Update(done, total); };
    ASSIGN_OR_RETURN(const AutoBits bits, ChooseBits(*model_.checkpoint, eight, scored, options, pool_, plan));
    bar.Clear();
    if (flags_.notes) {
      WriteStderr(Describe(bits, scored.size()));
    }
    return {};
  }

  static std::string Describe(const AutoBits& bits, size_t rows) {
    const auto percent = [](double relative) {
      char text[32];
      std::snprintf(text, sizeof text, "%+.2f %%", 100 * relative);
      return std::string(text);
    };
    std::string text = StrCat("perplexity with every layer in 4 bits: ", percent(bits.all_four.relative), " (", rows,
                              " held-out rows)\n");
    if (bits.eight.empty()) {
      return text + "no layer has to stay at 8 bits\n";
    }
    for (const AloneDamage& layer : bits.eight) {
      text += StrCat("at 8 bits: ", layer.name, " (", percent(layer.change.relative), " in 4 bits alone)\n");
    }
    return text + StrCat("perplexity with these at 8 bits: ", percent(bits.chosen.relative), "\n");
  }

  const PlanningFlags& flags_;
  const QuantScheme& scheme_;
  const LoadedModel& model_;
  ThreadPool* pool_;
  const std::atomic<bool>* cancel_;
  Ranks& ranks_;
  std::optional<double> budget_;
  std::optional<Calibrated> calibrated_;
};

}  // namespace

Result<Planned> MakePlan(const PlanningFlags& flags, const QuantScheme& scheme, const LoadedModel& model,
                         ThreadPool* pool, const std::atomic<bool>* cancel, Ranks& ranks) {
  return Planning(flags, scheme, model, pool, cancel, ranks).Run();
}

}  // namespace phidias::cli
