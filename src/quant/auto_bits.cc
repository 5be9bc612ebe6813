#include "quant/auto_bits.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "backend/cpu/cpu_backend.h"
#include "model/phi.h"
#include "quant/quantizer.h"

namespace phidias {
namespace {

std::string LayerName(size_t index) {
  return StrCat("model.layers.", index);
}

class Chooser {
 public:
  Chooser(const Checkpoint& source, const QuantPlan& eight, std::span<const ScoredRow> rows,
          const AutoBitsOptions& options, ThreadPool* pool, QuantPlan* plan)
      : source_(source), eight_(eight), rows_(rows), options_(options), pool_(pool), plan_(*plan) {}

  Result<AutoBits> Go() {
    ASSIGN_OR_RETURN(const PerplexityResult plain, Measure("float", source_));
    float_rows_ = plain.rows;
    AutoBits result;
    ASSIGN_OR_RETURN(result.all_four, Change("every layer in 4 bits", plan_));
    result.chosen = result.all_four;
    if (result.all_four.relative <= options_.budget) {
      return result;
    }
    ASSIGN_OR_RETURN(const std::vector<AloneDamage> worst, Worst());
    RETURN_IF_ERROR(FindCount(worst, &result));
    return result;
  }

 private:
  void Starts(const std::string& what) {
    if (options_.starts) {
      options_.starts(what, index_, 0);
    }
    ++index_;
  }

  Result<PerplexityResult> Measure(const std::string& what, const Checkpoint& model) {
    Starts(what);
    ASSIGN_OR_RETURN(std::unique_ptr<Backend> backend, CreateCpuBackend(ShapeOf(model.config), options_.cpu));
    ASSIGN_OR_RETURN(const std::unique_ptr<Phi> phi,
                     Phi::Create(std::make_shared<const Checkpoint>(model), std::move(backend)));
    PerplexityOptions options;
    options.batch = options_.batch;
    options.cancel = options_.cancel;
    options.progress = options_.progress;
    return Perplexity(*phi, rows_, options);
  }

  Result<PerplexityChange> Change(const std::string& what, const QuantPlan& plan) {
    ASSIGN_OR_RETURN(const PerplexityResult result, Measure(what, ApplyQuantPlan(source_, plan, pool_)));
    return CompareScores(float_rows_, result.rows);
  }

  // Layers with 4-bit weights, the one that hurts most alone first.
  Result<std::vector<AloneDamage>> Worst() {
    DamageOptions options;
    options.unit = DamageUnit::kLayer;
    options.batch = options_.batch;
    options.cpu = options_.cpu;
    options.cancel = options_.cancel;
    options.progress = options_.progress;
    options.starts = options_.starts;
    ASSIGN_OR_RETURN(DamageResult damage, MeasureDamage(source_, plan_, {}, rows_, options));
    std::vector<AloneDamage> worst;
    for (size_t i = 0; i < plan_.layers.size(); ++i) {
      const auto all = plan_.layers[i].Linears();
      const bool four = std::any_of(all.begin(), all.end(), [](const LinearPlan* l) { return l->FourBits(); });
      const auto found = std::find_if(damage.alone.begin(), damage.alone.end(),
                                      [&](const AloneDamage& alone) { return alone.name == LayerName(i); });
      if (four && found != damage.alone.end()) {
        worst.push_back(*found);
      }
    }
    std::stable_sort(worst.begin(), worst.end(),
                     [](const AloneDamage& a, const AloneDamage& b) { return a.change.relative > b.change.relative; });
    return worst;
  }

  // The plan with its `count` worst layers at 8 bits. Whole layers, as smoothing goes through all of one.
  QuantPlan Mixed(const std::vector<AloneDamage>& worst, size_t count) const {
    QuantPlan mixed = plan_;
    for (size_t i = 0; i < mixed.layers.size(); ++i) {
      const auto end = worst.begin() + static_cast<ptrdiff_t>(count);
      if (std::none_of(worst.begin(), end, [&](const AloneDamage& alone) { return alone.name == LayerName(i); })) {
        continue;
      }
      for (const LinearPlan* linear : mixed.layers[i].Linears()) {
        if (linear->FourBits()) {
          mixed.eight_bits.push_back(linear->name);
        }
      }
      mixed.layers[i] = eight_.layers[i];
      if (mixed.integer) {
        mixed.integer->layers[i] = eight_.integer->layers[i];
      }
    }
    mixed.scheme.eight_bits = mixed.eight_bits;
    return mixed;
  }

  // The least number of layers that will do, supposing that more of them hurt less.
  Status FindCount(const std::vector<AloneDamage>& worst, AutoBits* result) {
    size_t few = 0;  // too few
    size_t enough = worst.size();
    ASSIGN_OR_RETURN(result->chosen, Change("every layer at 8 bits", Mixed(worst, enough)));
    if (result->chosen.relative > options_.budget) {
      return InvalidArgument("--bits-auto ", 100 * options_.budget, ": even with every layer at 8 bits the perplexity ",
                             "changes by ", std::round(1e4 * result->chosen.relative) / 100,
                             " %; allow more, or leave layers in float with --skip");
    }
    while (enough - few > 1) {
      const size_t count = few + (enough - few) / 2;
      ASSIGN_OR_RETURN(const PerplexityChange change, Change(StrCat(count, " at 8 bits"), Mixed(worst, count)));
      if (change.relative <= options_.budget) {
        enough = count;
        result->chosen = change;
      } else {
        few = count;
      }
    }
    plan_ = Mixed(worst, enough);
    result->eight.assign(worst.begin(), worst.begin() + static_cast<ptrdiff_t>(enough));
    return {};
  }

  const Checkpoint& source_;
  const QuantPlan& eight_;
  std::span<const ScoredRow> rows_;
  const AutoBitsOptions& options_;
  ThreadPool* pool_;
  QuantPlan& plan_;
  std::vector<RowScore> float_rows_;
  size_t index_ = 0;
};

}  // namespace

Result<AutoBits> ChooseBits(const Checkpoint& source, const QuantPlan& eight, std::span<const ScoredRow> rows,
                            const AutoBitsOptions& options, ThreadPool* pool, QuantPlan* plan) {
  return Chooser(source, eight, rows, options, pool, plan).Go();
}

}  // namespace phidias
