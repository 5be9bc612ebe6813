#include "quant/sweep.h"

#include <algorithm>
#include <utility>

#include "backend/cpu/cpu_backend.h"
#include "common/file.h"
#include "common/thread_pool.h"
#include "model/phi.h"
#include "quant/perplexity_state.h"
#include "quant/quantizer.h"
#include "quant/sweep_state.h"

namespace phidias {
namespace {

constexpr size_t kMaxStateBytes = size_t{64} << 20;

class Sweeper {
 public:
  Sweeper(const std::shared_ptr<const Checkpoint>& checkpoint, const CalibrationStats& stats,
          std::span<const ScoredRow> rows, const SweepOptions& options, Ranks& ranks)
      : checkpoint_(checkpoint),
        stats_(stats),
        rows_(rows),
        options_(options),
        ranks_(ranks),
        pool_(options.cpu.threads > 0 ? options.cpu.threads : AvailableProcessors()) {}

  Result<std::vector<SweepCell>> Go() {
    RETURN_IF_ERROR(LoadState());
    std::vector<SweepCell> cells;
    const std::vector<SweepScheme> grid = SweepGrid(options_);
    for (size_t i = 0; i < grid.size(); ++i) {
      const SweepCell* known = Find(grid[i]);
      if (known == nullptr) {
        if (options_.starts) {
          options_.starts(grid[i], i, grid.size());
        }
        if (Status status = Measure(grid[i]); !status.ok()) {
          return status.code() == StatusCode::kCancelled ? status : status.WithContext(DescribeSweepScheme(grid[i]));
        }
        known = &state_.cells.back();
      }
      cells.push_back(*known);
    }
    return cells;
  }

 private:
  Status LoadState() {
    std::string text;
    if (ranks_.rank() == 0 && !options_.state_path.empty() && FileExists(options_.state_path)) {
      ASSIGN_OR_RETURN(text, ReadFile(options_.state_path, kMaxStateBytes));
    }
    ASSIGN_OR_RETURN(text, FromRankZero(ranks_, text, options_.cancel));
    if (text.empty()) {
      return {};
    }
    ASSIGN_OR_RETURN(state_, ParseSweepState(text, options_.state_path, options_.state_fingerprint));
    if (state_.float_rows.size() != rows_.size()) {
      state_ = {};  // ended before its first cell did
    }
    return {};
  }

  const SweepCell* Find(const SweepScheme& scheme) const {
    const auto found = std::find_if(state_.cells.begin(), state_.cells.end(),
                                    [&](const SweepCell& cell) { return cell.scheme == scheme; });
    return found == state_.cells.end() ? nullptr : &*found;
  }

  Result<std::shared_ptr<const Checkpoint>> Quantised(const SweepScheme& scheme) {
    if (scheme == SweepScheme{}) {
      return checkpoint_;
    }
    QuantScheme how;
    how.weights = scheme.weights;
    how.granularity = scheme.granularity;
    how.activations = scheme.activations;
    how.percentile = options_.percentile;
    ASSIGN_OR_RETURN(Checkpoint quantised, QuantizeModel(*checkpoint_, &stats_, how, &pool_));
    return std::shared_ptr<const Checkpoint>(std::make_shared<Checkpoint>(std::move(quantised)));
  }

  Status Measure(const SweepScheme& scheme) {
    ASSIGN_OR_RETURN(std::shared_ptr<const Checkpoint> quantised, Quantised(scheme));
    ASSIGN_OR_RETURN(std::unique_ptr<Backend> backend, CreateCpuBackend(ShapeOf(quantised->config), options_.cpu));
    ASSIGN_OR_RETURN(const std::unique_ptr<Phi> phi, Phi::Create(std::move(quantised), std::move(backend)));
    PerplexityOptions options;
    options.batch = options_.batch;
    options.cancel = options_.cancel;
    options.progress = options_.progress;
    options.ranks = &ranks_;
    ASSIGN_OR_RETURN(PerplexityResult result, Perplexity(*phi, rows_, options));
    if (scheme == SweepScheme{}) {
      state_.float_rows = result.rows;
    }
    state_.cells.push_back({.scheme = scheme,
                            .perplexity = result.perplexity,
                            .nll = result.nll,
                            .tokens = result.tokens,
                            .standard_error = result.standard_error,
                            .change = CompareScores(state_.float_rows, result.rows),
                            .seconds = result.seconds});
    if (options_.state_path.empty() || ranks_.rank() != 0) {
      return {};
    }
    return WriteWholeFile(options_.state_path, SweepStateText(options_.state_fingerprint, state_));
  }

  std::shared_ptr<const Checkpoint> checkpoint_;
  const CalibrationStats& stats_;
  std::span<const ScoredRow> rows_;
  const SweepOptions& options_;
  Ranks& ranks_;
  ThreadPool pool_;
  SweepState state_;
};

}  // namespace

std::vector<SweepScheme> SweepGrid(const SweepOptions& options) {
  std::vector<SweepScheme> grid = {SweepScheme{}};
  for (const Granularity granularity : options.granularities) {
    for (const RangeKind weights : options.weights) {
      for (const RangeKind activations : options.activations) {
        const bool none = weights == RangeKind::kNone;
        const SweepScheme scheme = {weights, none ? Granularity::kTensor : granularity, activations};
        if (std::find(grid.begin(), grid.end(), scheme) == grid.end()) {
          grid.push_back(scheme);
        }
      }
    }
  }
  return grid;
}

Result<std::vector<SweepCell>> Sweep(const std::shared_ptr<const Checkpoint>& checkpoint, const CalibrationStats& stats,
                                     std::span<const ScoredRow> rows, const SweepOptions& options) {
  const std::unique_ptr<Ranks> single = options.ranks == nullptr ? SingleRank() : nullptr;
  return Sweeper(checkpoint, stats, rows, options, options.ranks == nullptr ? *single : *options.ranks).Go();
}

std::string DescribeSweepScheme(const SweepScheme& scheme) {
  std::string text = StrCat("weights ", RangeKindName(scheme.weights));
  if (scheme.weights != RangeKind::kNone) {
    text += StrCat(" per ", GranularityName(scheme.granularity));
  }
  return text + StrCat(", activations ", RangeKindName(scheme.activations));
}

}  // namespace phidias
