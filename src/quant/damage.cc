#include "quant/damage.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "backend/cpu/cpu_backend.h"
#include "common/thread_pool.h"
#include "model/phi.h"
#include "quant/quantizer.h"

namespace phidias {
namespace {

constexpr size_t kLayerLinears = 6;

// The plan with its smoothing and without its quantisation.
QuantPlan FloatPlan(QuantPlan plan) {
  const auto leave = [](LinearPlan& linear) {
    linear.quantize = false;
    linear.input = {};
  };
  for (LayerPlan& layer : plan.layers) {
    for (LinearPlan* linear : {&layer.q_proj, &layer.k_proj, &layer.v_proj, &layer.dense, &layer.fc1, &layer.fc2}) {
      leave(*linear);
    }
  }
  leave(plan.lm_head);
  return plan;
}

// Linear layers that are quantised together, alone.
struct Group {
  std::string name;
  std::vector<size_t> linears;
};

class Damage {
 public:
  Damage(std::span<const std::vector<int32_t>> probe_rows, std::span<const ScoredRow> rows,
         const DamageOptions& options, Ranks& ranks)
      : probe_rows_(probe_rows), rows_(rows), options_(options), ranks_(ranks) {}

  Result<DamageResult> Go(const Checkpoint& source, const QuantPlan& plan) {
    RETURN_IF_ERROR(Load(source, plan));
    DamageResult result;
    for (const LinearPlan* linear : plan.Linears()) {
      const size_t index = result.linears.size();
      result.linears.push_back({.name = linear->name, .quantised = switch_->HasTwo(index), .error = {}});
    }
    std::vector<size_t> all;
    for (size_t i = 0; i < result.linears.size(); ++i) {
      if (result.linears[i].quantised) {
        all.push_back(i);
      }
    }
    if (all.empty()) {
      return InvalidArgument("nothing is quantised: choose weights or activations other than none");
    }
    const std::vector<Group> groups = Groups(result.linears);
    count_ = 3 + groups.size();
    RETURN_IF_ERROR(CompareOutputs(&result));
    ASSIGN_OR_RETURN(const PerplexityResult plain, Measure("float", {}));
    ASSIGN_OR_RETURN(const PerplexityResult quantised, Measure("everything quantised", all));
    result.float_perplexity = plain.perplexity;
    result.quantised_perplexity = quantised.perplexity;
    result.change = CompareScores(plain.rows, quantised.rows);
    result.tokens = plain.tokens;
    for (const Group& group : groups) {
      ASSIGN_OR_RETURN(const PerplexityResult one, Measure(group.name + " alone", group.linears));
      result.alone.push_back(
          {.name = group.name, .perplexity = one.perplexity, .change = CompareScores(plain.rows, one.rows)});
    }
    return result;
  }

 private:
  Status Load(const Checkpoint& source, const QuantPlan& plan) {
    ThreadPool pool(options_.cpu.threads > 0 ? options_.cpu.threads : AvailableProcessors());
    quantised_ = std::make_unique<Checkpoint>(ApplyQuantPlan(source, plan, &pool));
    auto plain = std::make_shared<Checkpoint>(ApplyQuantPlan(source, FloatPlan(plan), &pool));
    ASSIGN_OR_RETURN(std::unique_ptr<Backend> inner, CreateCpuBackend(ShapeOf(source.config), options_.cpu));
    auto both = std::make_unique<SwitchBackend>(std::move(inner), *quantised_);
    switch_ = both.get();
    ASSIGN_OR_RETURN(phi_, Phi::Create(std::move(plain), std::move(both)));
    return {};
  }

  std::vector<Group> Groups(const std::vector<LinearDamage>& linears) const {
    std::vector<Group> groups;
    if (options_.unit == DamageUnit::kNone) {
      return groups;
    }
    for (size_t i = 0; i < linears.size(); ++i) {
      if (!linears[i].quantised) {
        continue;
      }
      const bool head = i + 1 == linears.size();
      const std::string name = options_.unit == DamageUnit::kLinear || head
                                   ? linears[i].name
                                   : "model.layers." + std::to_string(i / kLayerLinears);
      if (groups.empty() || groups.back().name != name) {
        groups.push_back({.name = name, .linears = {}});
      }
      groups.back().linears.push_back(i);
    }
    return groups;
  }

  void Starts(const std::string& what) {
    if (options_.starts) {
      options_.starts(what, index_, count_);
    }
    ++index_;
  }

  Result<PerplexityResult> Measure(const std::string& what, const std::vector<size_t>& quantised) {
    Starts(what);
    for (const size_t i : quantised) {
      switch_->UseQuantised(i, true);
    }
    PerplexityOptions options;
    options.batch = options_.batch;
    options.cancel = options_.cancel;
    options.progress = options_.progress;
    options.ranks = &ranks_;
    Result<PerplexityResult> result = Perplexity(*phi_, rows_, options);
    for (const size_t i : quantised) {
      switch_->UseQuantised(i, false);
    }
    return result;
  }

  // One row at a time, so that its sums don't depend on its neighbours.
  Result<std::vector<OutputError>> CompareRow(const std::vector<int32_t>& ids) {
    ASSIGN_OR_RETURN(const KvCache cache, phi_->NewKvCache(static_cast<int64_t>(ids.size())));
    std::vector<StepRow> step;
    for (size_t pos = 0; pos < ids.size(); ++pos) {
      step.push_back({.token = ids[pos], .pos = static_cast<int32_t>(pos), .kv = cache.store(), .wants_logits = true});
    }
    StepOptions options;
    options.cancel = options_.cancel;
    RETURN_IF_ERROR(phi_->Step(step, options).status());
    return switch_->TakeErrors();
  }

  Status CompareOutputs(DamageResult* result) {
    Starts("outputs");
    switch_->Compare(true);
    std::string mine;
    const auto rows = static_cast<int64_t>(probe_rows_.size());
    for (int64_t i = ranks_.rank(); i < rows; i += ranks_.size()) {
      ASSIGN_OR_RETURN(const std::vector<OutputError> errors, CompareRow(probe_rows_[static_cast<size_t>(i)]));
      mine.append(reinterpret_cast<const char*>(errors.data()), errors.size() * sizeof(OutputError));
      if (options_.progress) {
        options_.progress(std::min(i + ranks_.size(), rows), rows);
      }
    }
    switch_->Compare(false);
    ASSIGN_OR_RETURN(const std::vector<std::string> all, ranks_.Exchange(mine, options_.cancel));
    const size_t linears = result->linears.size();
    for (size_t row = 0; row < probe_rows_.size(); ++row) {
      const std::string& piece = all[row % all.size()];
      const size_t at = row / all.size() * linears * sizeof(OutputError);
      if (at + linears * sizeof(OutputError) > piece.size()) {
        return {StatusCode::kInternal, "another rank compared other rows than this one: do all see the same data?"};
      }
      for (size_t i = 0; i < linears; ++i) {
        OutputError error;
        std::memcpy(&error, piece.data() + at + i * sizeof error, sizeof error);
        result->linears[i].error.Add(error);
      }
    }
    return {};
  }

  std::span<const std::vector<int32_t>> probe_rows_;
  std::span<const ScoredRow> rows_;
  const DamageOptions& options_;
  Ranks& ranks_;
  std::unique_ptr<Checkpoint> quantised_;  // outlives phi_, whose back end reads it
  std::unique_ptr<Phi> phi_;
  SwitchBackend* switch_ = nullptr;  // phi_'s
  size_t index_ = 0;
  size_t count_ = 0;
};

}  // namespace

Result<DamageResult> MeasureDamage(const Checkpoint& source, const QuantPlan& plan,
                                   std::span<const std::vector<int32_t>> probe_rows, std::span<const ScoredRow> rows,
                                   const DamageOptions& options) {
  const std::unique_ptr<Ranks> single = options.ranks == nullptr ? SingleRank() : nullptr;
  return Damage(probe_rows, rows, options, options.ranks == nullptr ? *single : *options.ranks).Go(source, plan);
}

}  // namespace phidias
