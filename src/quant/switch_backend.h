#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "model/checkpoint.h"

namespace phidias {

// How far a linear layer's output moves when it is quantised, added up over tokens and outputs.
struct OutputError {
  double signal = 0;     // sum y^2
  double noise = 0;      // sum (y - y')^2
  double product = 0;    // sum y y'
  double quantised = 0;  // sum y'^2

  void Add(const OutputError& other);
  double SqnrDecibels() const;  // 10 log10(signal / noise); infinity for an equal output
  double Cosine() const;        // of all outputs as one vector; 1 where both are zero
};

// A back end that holds two versions of every linear layer, float and quantised, and changes between them from step to
// step. It can also run both on the same input and compare their outputs. Everything else is the inner back end's.
class SwitchBackend final : public Backend {
 public:
  // `quantised` has the weights that LoadLinear doesn't see; it must outlive this.
  SwitchBackend(std::unique_ptr<Backend> inner, const Checkpoint& quantised);

  // Linear layers are counted in the checkpoint's order (q, k, v, dense, fc1, fc2 of layer 0, ...), lm_head last.
  static size_t IndexOf(LinearPlace place, int64_t n_layers);
  // Whether the two versions of a layer differ.
  bool HasTwo(size_t index) const { return linears_[index].differ; }
  void UseQuantised(size_t index, bool quantised) { linears_[index].use_quantised = quantised; }

  // While on, every layer that has two versions adds to its error.
  void Compare(bool on) { compare_ = on; }
  // The errors since the last call.
  std::vector<OutputError> TakeErrors();

  std::string Describe() const override { return inner_->Describe(); }
  Result<EmbeddingId> LoadEmbedding(const WeightMatrix& weight) override { return inner_->LoadEmbedding(weight); }
  Result<LinearId> LoadLinear(const LinearWeights& weights, LinearPlace place) override;
  Result<LayerNormId> LoadLayerNorm(const LayerNormWeights& weights, int64_t layer) override {
    return inner_->LoadLayerNorm(weights, layer);
  }
  Status FinishLoading() override { return inner_->FinishLoading(); }
  Activation Allocate(std::string_view name, int64_t cols) override { return inner_->Allocate(name, cols); }
  Result<std::unique_ptr<KvStore>> AllocateKv(int64_t positions) override { return inner_->AllocateKv(positions); }
  Status BeginStep(std::span<const StepRow> rows) override { return inner_->BeginStep(rows); }
  void Embed(EmbeddingId embedding, Activation out) override { inner_->Embed(embedding, out); }
  void LayerNorm(LayerNormId norm, Activation in, Activation out) override { inner_->LayerNorm(norm, in, out); }
  void Linear(LinearId linear, Activation in, Activation out) override;
  void Attention(int64_t layer, Activation q, Activation k, Activation v, Activation out) override {
    inner_->Attention(layer, q, k, v, out);
  }
  void Gelu(int64_t layer, Activation in, Activation out) override { inner_->Gelu(layer, in, out); }
  void AddResidual(Activation attention, Activation mlp, Activation x) override {
    inner_->AddResidual(attention, mlp, x);
  }
  void GatherLogitRows(Activation in, Activation out) override { inner_->GatherLogitRows(in, out); }
  Status EndStep() override { return inner_->EndStep(); }
  int64_t saturated() const override { return inner_->saturated(); }
  std::span<const float> Read(Activation activation) override { return inner_->Read(activation); }

 private:
  struct Versions {
    LinearId plain{};
    LinearId quantised{};
    bool differ = false;
    bool use_quantised = false;
    Activation spare{};  // for the other version's output
    OutputError error;
  };
  const LinearWeights& Quantised(LinearPlace place) const;

  std::unique_ptr<Backend> inner_;
  const Checkpoint& quantised_;
  std::vector<Versions> linears_;
  std::map<int64_t, Activation> spares_;  // by columns
  bool compare_ = false;
};

}  // namespace phidias
