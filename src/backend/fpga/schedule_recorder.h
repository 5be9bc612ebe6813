#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "backend/fpga/schedule.h"

namespace phidias::fpga {

// Turns the operators of a step, as the model calls them, into a Schedule: what the card runtime executes and the
// timing model lays out in time.
class ScheduleRecorder {
 public:
  ScheduleRecorder(ScheduleOrder order, HostOps host_ops) : order_(order), host_ops_(host_ops), schedule_(order) {}

  // A new step: nothing is recorded.
  void BeginStep();

  // Each returns the node that it added.
  const ScheduleNode& LayerNorm(int64_t layer, Activation in, Activation out);
  const ScheduleNode& Linear(const LinearPlace& place, Activation in, Activation out);
  const ScheduleNode& Attention(int64_t layer, Activation q, Activation k, Activation v, Activation out);
  const ScheduleNode& Gelu(int64_t layer, Activation in, Activation out);
  const ScheduleNode& AddResidual(Activation attention, Activation mlp, Activation x);
  // Until it is written, `out` stands for the rows of `in` that want logits.
  void GatherLogitRows(Activation in, Activation out);

  // The activation that holds the values: another one between GatherLogitRows and the first write.
  int32_t Resolve(Activation activation) const;
  bool IsGathered(Activation activation) const { return static_cast<int32_t>(activation) == gathered_; }

  const Schedule& schedule() const { return schedule_; }
  // What was recorded is executed; the step goes on.
  void Clear() { schedule_ = Schedule(order_); }

 private:
  const ScheduleNode& Record(ScheduleNode node, std::initializer_list<Activation> in, Activation out);

  ScheduleOrder order_;
  HostOps host_ops_;
  Schedule schedule_;
  int64_t residuals_ = 0;  // of this step: a residual's layer
  int32_t gathered_ = kNoActivation;
  int32_t gathered_from_ = kNoActivation;
  std::vector<bool> is_gathered_;  // by activation
};

// A back end that computes nothing and keeps the schedule of the last step: a model that runs on it says what it would
// have a card do. Weights may be empty.
class RecordingBackend final : public Backend {
 public:
  RecordingBackend(ScheduleOrder order, HostOps host_ops) : recorder_(order, host_ops) {}

  std::string Describe() const override { return "records a schedule"; }
  Result<EmbeddingId> LoadEmbedding(const WeightMatrix& /*weight*/) override { return EmbeddingId{0}; }
  Result<LinearId> LoadLinear(const LinearWeights& weights, LinearPlace place) override;
  Result<LayerNormId> LoadLayerNorm(const LayerNormWeights& weights, int64_t layer) override;
  Status FinishLoading() override { return {}; }
  Activation Allocate(std::string_view name, int64_t cols) override;
  Result<std::unique_ptr<KvStore>> AllocateKv(int64_t positions) override;

  Status BeginStep(std::span<const StepRow> /*rows*/) override {
    recorder_.BeginStep();
    return {};
  }
  void Embed(EmbeddingId /*embedding*/, Activation out) override { embedded_ = static_cast<int32_t>(out); }
  void LayerNorm(LayerNormId norm, Activation in, Activation out) override {
    recorder_.LayerNorm(norms_[static_cast<size_t>(norm)], in, out);
  }
  void Linear(LinearId linear, Activation in, Activation out) override {
    recorder_.Linear(linears_[static_cast<size_t>(linear)], in, out);
  }
  void Attention(int64_t layer, Activation q, Activation k, Activation v, Activation out) override {
    recorder_.Attention(layer, q, k, v, out);
  }
  void Gelu(int64_t layer, Activation in, Activation out) override { recorder_.Gelu(layer, in, out); }
  void AddResidual(Activation attention, Activation mlp, Activation x) override {
    recorder_.AddResidual(attention, mlp, x);
  }
  void GatherLogitRows(Activation in, Activation out) override { recorder_.GatherLogitRows(in, out); }
  Status EndStep() override { return {}; }
  std::span<const float> Read(Activation /*activation*/) override { return {}; }

  const Schedule& schedule() const { return recorder_.schedule(); }
  const std::vector<int64_t>& cols() const { return cols_; }  // of each activation
  int32_t embedded() const { return embedded_; }              // the activation that the embedding was put into

 private:
  ScheduleRecorder recorder_;
  std::vector<LinearPlace> linears_;  // by LinearId
  std::vector<int64_t> norms_;        // by LayerNormId: the layer
  std::vector<int64_t> cols_;
  int32_t embedded_ = kNoActivation;
};

// One token of a model: what is to run, and how long its vectors are.
struct TokenSchedule {
  Schedule schedule{ScheduleOrder::kParallel};
  std::vector<int64_t> cols;         // elements of each activation
  int32_t embedded = kNoActivation;  // what the host puts in: the embedding's row
};

}  // namespace phidias::fpga
