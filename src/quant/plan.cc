#include "quant/plan.h"

#include <algorithm>
#include <iterator>
#include <set>
#include <utility>

#include "numerics/quantize.h"
#include "quant/input_range.h"
#include "quant/int4_quantizer.h"
#include "quant/integer_scales.h"
#include "quant/plan_state.h"
#include "quant/skip_patterns.h"
#include "quant/smooth.h"

namespace phidias {
namespace {

LinearPlan* LayerLinears(LayerPlan* layer, size_t i) {
  LinearPlan* all[] = {&layer->q_proj, &layer->k_proj, &layer->v_proj, &layer->dense, &layer->fc1, &layer->fc2};
  return all[i];
}
constexpr size_t kLayerLinears = 6;

Status CheckStats(const Checkpoint& source, const CalibrationStats* stats, const QuantScheme& scheme) {
  if (!scheme.NeedsCalibration()) {
    return {};
  }
  const PhiConfig& config = source.config;
  if (stats == nullptr) {
    return InvalidArgument("this scheme (", DescribeScheme(scheme), ") needs calibration: pass --calibration FILE");
  }
  const CalibrationStats right = CalibrationStats::ForModel(config, 0);
  const bool same = stats->layers.size() == right.layers.size() &&
                    std::equal(stats->layers.begin(), stats->layers.end(), right.layers.begin(),
                               [](const LayerStats& a, const LayerStats& b) {
                                 return a.norm.channel_max.size() == b.norm.channel_max.size() &&
                                        a.dense.channel_max.size() == b.dense.channel_max.size() &&
                                        a.fc2.channel_max.size() == b.fc2.channel_max.size() &&
                                        a.v_absmax.size() == b.v_absmax.size();
                               });
  if (!same) {
    return InvalidArgument(source.path, ": the calibration statistics are of a model of another shape");
  }
  const bool inside = scheme.activations == RangeKind::kPercentile || scheme.activations == RangeKind::kMse;
  if (stats->samples.empty() &&
      (scheme.smoothing == Smoothing::kAuto || (scheme.smoothing == Smoothing::kFixed && inside))) {
    return InvalidArgument("this scheme (", DescribeScheme(scheme), ") needs a calibration that kept sampled tokens");
  }
  return {};
}

class Planner {
 public:
  Planner(const Checkpoint& source, const CalibrationStats* stats, const QuantScheme& scheme, ThreadPool* pool)
      : source_(source), config_(source.config), stats_(stats), scheme_(scheme), pool_(pool) {}

  Result<QuantPlan> Run(const PlanOptions& options);

 private:
  Status MatchSkips(QuantPlan* plan);
  LinearPlan StartLinear(const LinearWeights& weights) const;
  bool IsSkipped(const LinearPlan& linear) const { return skipped_.contains(linear.name); }
  bool HasFourBits(const LinearPlan& linear) const;
  LayerPlan StartLayer(size_t index) const;
  Status PlanLayer(size_t index, LayerPlan* plan);
  Result<LayerPlan> KeptOrPlanned(size_t index, const std::string& state_path, const std::string& fingerprint);
  Result<SmoothChoice> Choose(const SmoothTarget& target) const;
  Status SmoothNorm(size_t index, LayerPlan* plan);
  Status SmoothDense(size_t index, LayerPlan* plan);
  std::vector<int64_t> KvChannels() const;
  std::vector<float> ValueFactors(const std::vector<float>& dense_factor) const;
  Status FinishLinear(LinearPlan* linear, const InputQuant& input) const;
  InputQuant InputFor(const ActivationStats& stats, std::span<const float> samples,
                      const std::vector<float>& factor) const;
  IntegerConstants FindIntegerConstants() const;

  const Checkpoint& source_;
  const PhiConfig& config_;
  const CalibrationStats* stats_;
  const QuantScheme& scheme_;
  ThreadPool* pool_;
  std::set<std::string> skipped_;
  std::set<std::string> eight_bits_;
  // Of the layer at hand and, for the values (v_proj's rows), of all: smoothing factors, empty where there are none.
  std::vector<float> norm_factor_;
  std::vector<std::vector<float>> value_factors_;  // per layer [n_kv_heads * head_dim]
};

LinearPlan Planner::StartLinear(const LinearWeights& weights) const {
  LinearPlan linear;
  linear.name = weights.name;
  linear.source = {weights.name + ".weight", weights.weight, {}, {}};
  linear.bias = weights.bias;
  return linear;
}

Status Planner::MatchSkips(QuantPlan* plan) {
  std::vector<std::string> names;
  for (const LinearPlan* linear : plan->Linears()) {
    names.push_back(linear->name);
  }
  ASSIGN_OR_RETURN(plan->skipped, MatchSkipPatterns(scheme_.skip, names));
  skipped_.insert(plan->skipped.begin(), plan->skipped.end());
  ASSIGN_OR_RETURN(const std::vector<std::string> eight_bits,
                   MatchSkipPatterns(scheme_.eight_bits, names, "--eight-bits"));
  eight_bits_.insert(eight_bits.begin(), eight_bits.end());
  std::copy_if(eight_bits.begin(), eight_bits.end(), std::back_inserter(plan->eight_bits),
               [&](const std::string& name) { return !skipped_.contains(name) && name != plan->lm_head.name; });
  return {};
}

bool Planner::HasFourBits(const LinearPlan& linear) const {
  return scheme_.weight_bits == 4 && linear.name != source_.weights.lm_head.name && !eight_bits_.contains(linear.name);
}

Result<SmoothChoice> Planner::Choose(const SmoothTarget& target) const {
  if (scheme_.smoothing == Smoothing::kNone || target.readers.empty()) {
    return SmoothChoice();
  }
  if (scheme_.smoothing == Smoothing::kFixed) {
    return SmoothWith(target, scheme_.alpha);
  }
  return SearchSmoothing(target, scheme_, pool_);
}

// Folds the factors of q, k, v and fc1's input into the LayerNorm before them.
Status Planner::SmoothNorm(size_t index, LayerPlan* plan) {
  norm_factor_.clear();
  SmoothTarget target;
  LinearPlan* readers[] = {&plan->q_proj, &plan->k_proj, &plan->v_proj, &plan->fc1};
  for (const LinearPlan* reader : readers) {
    if (!IsSkipped(*reader)) {
      target.readers.push_back(&reader->source);
    }
  }
  if (stats_ != nullptr) {
    target.input = &stats_->layers[index].norm;
    target.samples = stats_->NormSamples(static_cast<int64_t>(index));
  }
  ASSIGN_OR_RETURN(const SmoothChoice choice, Choose(target));
  if (!choice.smooth) {
    return {};
  }
  norm_factor_ = choice.factor;
  plan->norm_alpha = choice.alpha;
  plan->norm_changed = true;
  for (size_t i = 0; i < norm_factor_.size(); ++i) {
    plan->norm.weight[i] /= norm_factor_[i];
    plan->norm.bias[i] /= norm_factor_[i];
  }
  for (LinearPlan* reader : readers) {
    reader->source.column_factor = norm_factor_;
  }
  return {};
}

// Which channel of v_proj's output each channel of dense's input is a mean of.
std::vector<int64_t> Planner::KvChannels() const {
  const int64_t group = config_.n_heads / config_.n_kv_heads;
  std::vector<int64_t> channels;
  for (int64_t h = 0; h < config_.n_heads; ++h) {
    for (int64_t d = 0; d < config_.head_dim; ++d) {
      channels.push_back(h / group * config_.head_dim + d);
    }
  }
  return channels;
}

// The factors of v_proj's rows for those of dense's input; none for none.
std::vector<float> Planner::ValueFactors(const std::vector<float>& dense_factor) const {
  if (dense_factor.empty()) {
    return {};
  }
  const std::vector<int64_t> channels = KvChannels();
  std::vector<float> values(static_cast<size_t>(config_.kv_size()));
  for (size_t i = 0; i < dense_factor.size(); ++i) {
    values[static_cast<size_t>(channels[i])] = dense_factor[i];
  }
  return values;
}

// Folds the factors of dense's input into v_proj: attention takes means of its rows, so a channel's factor goes
// through.
Status Planner::SmoothDense(size_t index, LayerPlan* plan) {
  SmoothTarget target;
  if (!IsSkipped(plan->dense)) {
    target.readers.push_back(&plan->dense.source);
  }
  target.channel_of = KvChannels();
  if (stats_ != nullptr) {
    target.input = &stats_->layers[index].dense;
    target.samples = stats_->DenseSamples(static_cast<int64_t>(index));
  }
  ASSIGN_OR_RETURN(const SmoothChoice choice, Choose(target));
  if (!choice.smooth) {
    return {};
  }
  plan->dense_alpha = choice.alpha;
  plan->dense.source.column_factor = choice.factor;
  const std::vector<float> values = ValueFactors(choice.factor);
  plan->v_proj.source.row_factor.resize(values.size());
  plan->v_proj.bias_changed = !plan->v_proj.bias.empty();
  for (size_t i = 0; i < values.size(); ++i) {
    plan->v_proj.source.row_factor[i] = 1.0F / values[i];
    if (!plan->v_proj.bias.empty()) {
      plan->v_proj.bias[i] /= values[i];
    }
  }
  return {};
}

InputQuant Planner::InputFor(const ActivationStats& stats, std::span<const float> samples,
                             const std::vector<float>& factor) const {
  const Histogram& values = factor.empty() ? stats.histogram : SmoothedHistogram(stats, samples, factor);
  return FindInputQuant(values, scheme_.activations, scheme_.percentile);
}

Status Planner::FinishLinear(LinearPlan* linear, const InputQuant& input) const {
  if (IsSkipped(*linear)) {
    return {};
  }
  linear->input = input;
  if (scheme_.weights == RangeKind::kNone) {
    return {};
  }
  linear->quantize = true;
  if (HasFourBits(*linear)) {
    ASSIGN_OR_RETURN(linear->quant, FindInt4Quant(linear->source, scheme_.weights, scheme_.group, pool_));
    return {};
  }
  const RangeKind kind = scheme_.weights == RangeKind::kGptq ? RangeKind::kSymmetric : scheme_.weights;
  ASSIGN_OR_RETURN(linear->quant,
                   FindWeightQuant(linear->source, kind, scheme_.granularity, scheme_.percentile, pool_));
  return {};
}

// As the checkpoint has it.
LayerPlan Planner::StartLayer(size_t index) const {
  const PhiLayerWeights& weights = source_.weights.layers[index];
  LayerPlan plan;
  plan.norm = weights.input_layernorm;
  const LinearWeights* stored[] = {&weights.q_proj, &weights.k_proj, &weights.v_proj,
                                   &weights.dense,  &weights.fc1,    &weights.fc2};
  for (size_t i = 0; i < kLayerLinears; ++i) {
    *LayerLinears(&plan, i) = StartLinear(*stored[i]);
  }
  return plan;
}

Status Planner::PlanLayer(size_t index, LayerPlan* plan) {
  RETURN_IF_ERROR(SmoothNorm(index, plan));
  RETURN_IF_ERROR(SmoothDense(index, plan));
  const ActivationStats none;
  const LayerStats* stats = stats_ == nullptr ? nullptr : &stats_->layers[index];
  const auto samples = [&](bool norm) {
    const auto layer = static_cast<int64_t>(index);
    return stats == nullptr ? std::vector<float>() : norm ? stats_->NormSamples(layer) : stats_->DenseSamples(layer);
  };
  const InputQuant norm = InputFor(stats == nullptr ? none : stats->norm, samples(true), norm_factor_);
  for (LinearPlan* linear : {&plan->q_proj, &plan->k_proj, &plan->v_proj, &plan->fc1}) {
    RETURN_IF_ERROR(FinishLinear(linear, norm));
  }
  RETURN_IF_ERROR(FinishLinear(&plan->dense, InputFor(stats == nullptr ? none : stats->dense, samples(false),
                                                      plan->dense.source.column_factor)));
  return FinishLinear(&plan->fc2, InputFor(stats == nullptr ? none : stats->fc2, {}, {}));
}

Result<LayerPlan> Planner::KeptOrPlanned(size_t index, const std::string& state_path, const std::string& fingerprint) {
  const std::string file = state_path.empty() ? "" : PlanStateFile(state_path, static_cast<int64_t>(index));
  LayerPlan plan = StartLayer(index);
  bool kept = false;
  if (!file.empty()) {
    ASSIGN_OR_RETURN(kept, ReadPlanState(file, fingerprint, &plan));
  }
  if (!kept) {
    plan = StartLayer(index);
    RETURN_IF_ERROR(PlanLayer(index, &plan));
    RETURN_IF_ERROR(file.empty() ? Status() : WritePlanState(file, fingerprint, plan));
  }
  value_factors_.push_back(ValueFactors(plan.dense.source.column_factor));
  return plan;
}

IntegerConstants Planner::FindIntegerConstants() const {
  IntegerConstants out;
  out.lm_head_bits = scheme_.lm_head == LmHead::kInt16 ? 16 : 8;
  out.residual_shift = ResidualShift(stats_->residual_absmax);
  out.final_norm_scale = FinalNormScale(stats_->final_norm.histogram.absmax());
  for (size_t i = 0; i < stats_->layers.size(); ++i) {
    const LayerStats& stats = stats_->layers[i];
    IntegerLayerConstants layer;
    std::transform(stats.q_absmax.begin(), stats.q_absmax.end(), std::back_inserter(layer.q_scale), HeadScale);
    std::transform(stats.k_absmax.begin(), stats.k_absmax.end(), std::back_inserter(layer.k_scale), HeadScale);
    const std::vector<float>& factor = value_factors_[i];
    for (int64_t h = 0; h < config_.n_kv_heads; ++h) {
      float absmax = 0;
      for (int64_t d = 0; d < config_.head_dim; ++d) {
        const auto c = static_cast<size_t>(h * config_.head_dim + d);
        absmax = std::max(absmax, stats.v_absmax[c] / (factor.empty() ? 1.0F : factor[c]));
      }
      layer.v_scale.push_back(HeadScale(absmax));
    }
    const numerics::ScaleZero fc1 = numerics::AsymmetricScale(stats.fc1_out.min(), stats.fc1_out.max());
    layer.fc1_scale = fc1.scale;
    layer.fc1_zero_point = fc1.zero_point;
    out.layers.push_back(std::move(layer));
  }
  return out;
}

Result<QuantPlan> Planner::Run(const PlanOptions& options) {
  QuantPlan plan;
  plan.scheme = scheme_;
  plan.lm_head = StartLinear(source_.weights.lm_head);
  for (const PhiLayerWeights& weights : source_.weights.layers) {
    LayerPlan named;
    const LinearWeights* stored[] = {&weights.q_proj, &weights.k_proj, &weights.v_proj,
                                     &weights.dense,  &weights.fc1,    &weights.fc2};
    for (size_t i = 0; i < kLayerLinears; ++i) {
      LayerLinears(&named, i)->name = stored[i]->name;
    }
    plan.layers.push_back(std::move(named));
  }
  RETURN_IF_ERROR(MatchSkips(&plan));
  const std::string fingerprint = options.state_path.empty() ? "" : PlanFingerprint(source_, stats_, scheme_);
  for (size_t i = 0; i < plan.layers.size(); ++i) {
    if (options.cancel != nullptr && *options.cancel) {
      return Status(StatusCode::kCancelled, "stopped on request");
    }
    ASSIGN_OR_RETURN(plan.layers[i], KeptOrPlanned(i, options.state_path, fingerprint));
    if (options.progress) {
      options.progress(static_cast<int64_t>(i) + 1, static_cast<int64_t>(plan.layers.size()));
    }
  }
  if (scheme_.lm_head == LmHead::kInt8) {
    const ActivationStats none;
    RETURN_IF_ERROR(FinishLinear(&plan.lm_head, InputFor(stats_ == nullptr ? none : stats_->final_norm, {}, {})));
  }
  if (scheme_.integer) {
    plan.integer = FindIntegerConstants();
  }
  return plan;
}

}  // namespace

Status CheckNotQuantized(const Checkpoint& source) {
  const auto check = [&](const LinearWeights& linear) -> Status {
    const bool integer = linear.weight.dtype == DType::kI8 || linear.weight.dtype == DType::kI4;
    if (integer || linear.input.kind != InputQuant::Kind::kNone) {
      return InvalidArgument(source.path, ": is quantised already (", linear.name,
                             "); quantise the float checkpoint that it was made from");
    }
    return {};
  };
  for (const PhiLayerWeights& layer : source.weights.layers) {
    for (const LinearWeights* linear :
         {&layer.q_proj, &layer.k_proj, &layer.v_proj, &layer.dense, &layer.fc1, &layer.fc2}) {
      RETURN_IF_ERROR(check(*linear));
    }
  }
  return check(source.weights.lm_head);
}

std::vector<const LinearPlan*> QuantPlan::Linears() const {
  std::vector<const LinearPlan*> all;
  for (const LayerPlan& layer : layers) {
    all.insert(all.end(), {&layer.q_proj, &layer.k_proj, &layer.v_proj, &layer.dense, &layer.fc1, &layer.fc2});
  }
  all.push_back(&lm_head);
  return all;
}

bool QuantPlan::FourBits() const {
  const std::vector<const LinearPlan*> all = Linears();
  return std::any_of(all.begin(), all.end(), [](const LinearPlan* linear) { return linear->FourBits(); });
}

Result<QuantPlan> MakeQuantPlan(const Checkpoint& source, const CalibrationStats* stats, const QuantScheme& scheme,
                                ThreadPool* pool, const PlanOptions& options) {
  RETURN_IF_ERROR(ValidateScheme(scheme));
  RETURN_IF_ERROR(CheckNotQuantized(source));
  RETURN_IF_ERROR(CheckStats(source, stats, scheme));
  return Planner(source, scheme.NeedsCalibration() ? stats : nullptr, scheme, pool).Run(options);
}

}  // namespace phidias
