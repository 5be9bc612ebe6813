#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "backend/cpu/cpu_options.h"
#include "common/status.h"
#include "model/checkpoint.h"
#include "quant/calibration_stats.h"
#include "quant/perplexity.h"
#include "quant/ranks.h"
#include "quant/scheme.h"

namespace phidias {

// One place of the grid. `granularity` means nothing where the weights stay in float.
struct SweepScheme {
  RangeKind weights = RangeKind::kNone;
  Granularity granularity = Granularity::kTensor;
  RangeKind activations = RangeKind::kNone;

  bool operator==(const SweepScheme&) const = default;
};

// What was measured there. `change` is against the float model on the same rows.
struct SweepCell {
  SweepScheme scheme;
  double perplexity = 0;
  double nll = 0;
  int64_t tokens = 0;
  std::optional<double> standard_error;
  PerplexityChange change;
  double seconds = 0;
};

struct SweepOptions {
  // Each weight scheme with each of the activation schemes, per granularity; the float model comes first in any case.
  std::vector<RangeKind> weights = {RangeKind::kNone, RangeKind::kSymmetric, RangeKind::kAsymmetric,
                                    RangeKind::kPercentile};
  std::vector<RangeKind> activations = {RangeKind::kNone, RangeKind::kSymmetric, RangeKind::kAsymmetric,
                                        RangeKind::kPercentile, RangeKind::kDynamic};
  std::vector<Granularity> granularities = {Granularity::kTensor, Granularity::kChannel};
  double percentile = 99.9;
  int64_t batch = 1024;
  CpuOptions cpu = {};
  const std::atomic<bool>* cancel = nullptr;
  std::function<void(const SweepScheme& scheme, size_t index, size_t count)> starts = {};  // a cell
  std::function<void(int64_t done, int64_t total)> progress = {};                          // tokens of it
  Ranks* ranks = nullptr;
  // The cells so far, so that an interrupted sweep goes on where it was; empty: nowhere. A file made from other things
  // (`state_fingerprint` stands for model, data and calibration) is refused.
  std::string state_path = {};
  std::string state_fingerprint = {};
};

// The cells in the grid's order: float first, then by granularity, weights, activations.
std::vector<SweepScheme> SweepGrid(const SweepOptions& options);

// Measures every cell of the grid. All share `stats`; a cell's quantised weights live in memory while it is measured.
// Errors are those of quantising and of Perplexity, with the cell's name in front.
Result<std::vector<SweepCell>> Sweep(const std::shared_ptr<const Checkpoint>& checkpoint, const CalibrationStats& stats,
                                     std::span<const ScoredRow> rows, const SweepOptions& options);

// "weights symmetric per channel, activations asymmetric".
std::string DescribeSweepScheme(const SweepScheme& scheme);

}  // namespace phidias
