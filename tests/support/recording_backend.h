#pragma once

// A back end around another that writes down how much each step computes, and calls a hook before every linear layer.

#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "backend/backend.h"

namespace phidias::testing_support {

struct RecordedStep {
  std::vector<StepRow> rows;
  int64_t q_rows = 0;        // that the first layer's q_proj computed
  int64_t lm_head_rows = 0;  // that lm_head computed
};

struct Recording {
  std::vector<RecordedStep> steps;
  std::function<void(LinearPlace place)> on_linear;  // may be empty
};

class RecordingBackend final : public Backend {
 public:
  // `recording` outlives this.
  RecordingBackend(std::unique_ptr<Backend> inner, Recording* recording)
      : inner_(std::move(inner)), recording_(recording) {}

  std::string Describe() const override { return inner_->Describe(); }
  Result<EmbeddingId> LoadEmbedding(const WeightMatrix& weight) override { return inner_->LoadEmbedding(weight); }
  Result<LinearId> LoadLinear(const LinearWeights& weights, LinearPlace place) override {
    places_.push_back(place);
    cols_.push_back(weights.weight.rows);
    return inner_->LoadLinear(weights, place);
  }
  Result<LayerNormId> LoadLayerNorm(const LayerNormWeights& weights, int64_t layer) override {
    return inner_->LoadLayerNorm(weights, layer);
  }
  Status FinishLoading() override { return inner_->FinishLoading(); }
  Activation Allocate(std::string_view name, int64_t cols) override { return inner_->Allocate(name, cols); }
  Result<std::unique_ptr<KvStore>> AllocateKv(int64_t positions) override { return inner_->AllocateKv(positions); }

  Status BeginStep(std::span<const StepRow> rows) override {
    recording_->steps.emplace_back();
    recording_->steps.back().rows.assign(rows.begin(), rows.end());
    return inner_->BeginStep(rows);
  }
  void Embed(EmbeddingId embedding, Activation out) override { inner_->Embed(embedding, out); }
  void LayerNorm(LayerNormId norm, Activation in, Activation out) override { inner_->LayerNorm(norm, in, out); }
  void Linear(LinearId linear, Activation in, Activation out) override {
    // CPU back ends number linear layers as they were loaded.
    const auto index = static_cast<size_t>(linear);
    const LinearPlace place = places_.at(index);
    if (recording_->on_linear) {
      recording_->on_linear(place);
    }
    inner_->Linear(linear, in, out);
    const auto rows = static_cast<int64_t>(inner_->Read(out).size()) / cols_[index];
    if (place.role == LinearRole::kLmHead) {
      recording_->steps.back().lm_head_rows += rows;
    } else if (place.role == LinearRole::kQ && place.layer == 0) {
      recording_->steps.back().q_rows += rows;
    }
  }
  void Attention(int64_t layer, Activation q, Activation k, Activation v, Activation out) override {
    inner_->Attention(layer, q, k, v, out);
  }
  void Gelu(int64_t layer, Activation in, Activation out) override { inner_->Gelu(layer, in, out); }
  void AddResidual(Activation attention, Activation mlp, Activation x) override {
    inner_->AddResidual(attention, mlp, x);
  }
  void GatherLogitRows(Activation in, Activation out) override { inner_->GatherLogitRows(in, out); }
  Status EndStep() override { return inner_->EndStep(); }
  std::span<const float> Read(Activation activation) override { return inner_->Read(activation); }

 private:
  std::unique_ptr<Backend> inner_;
  Recording* recording_;
  std::vector<LinearPlace> places_;  // by LinearId
  std::vector<int64_t> cols_;        // outputs, by LinearId
};

}  // namespace phidias::testing_support
