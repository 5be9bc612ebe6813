#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "backend/weights.h"
#include "common/status.h"
#include "numerics/sampling.h"

namespace phidias {

// The numbers that a back end needs to know about the model before it takes weights.
struct ModelShape {
  int64_t n_layers = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t n_heads = 0;
  int64_t n_kv_heads = 0;
  int64_t head_dim = 0;
  int64_t rotary_dim = 0;
  int64_t vocab_size = 0;
  int64_t max_positions = 0;
  double rope_theta = 10000.0;
  float layer_norm_eps = 1e-5F;
};

// Keys and values of one sequence, all layers, in the back end's own memory and layout.
class KvStore {
 public:
  virtual ~KvStore() = default;
  virtual int64_t capacity() const = 0;  // positions
  virtual int64_t bytes() const = 0;
};

// One token to compute: at `pos` of the sequence whose keys and values are in `kv`. Several rows of one sequence must
// come in increasing order of pos.
struct StepRow {
  int32_t token = 0;
  int32_t pos = 0;
  KvStore* kv = nullptr;
  bool wants_logits = false;
};

// Names for things that the back end holds. An Activation is a matrix [rows of the step, cols].
enum class Activation : int32_t {};
enum class LinearId : int32_t {};
enum class LayerNormId : int32_t {};
enum class EmbeddingId : int32_t {};

// Which of the model's linear layers a weight is: the integer arithmetic puts each output on a grid of its own, and a
// card places each in memory of its own.
enum class LinearRole : uint8_t { kQ, kK, kV, kDense, kFc1, kFc2, kLmHead };
struct LinearPlace {
  LinearRole role = LinearRole::kLmHead;
  int64_t layer = 0;
};
inline constexpr int64_t kFinalNorm = -1;  // the layer of final_layernorm

// Tokens that a back end chooses by itself, each after the one before: what the engine's sampler chooses from the same
// logits without penalties and biases (engine/sampler.h).
struct Generation {
  StepRow first;                     // the last known token, computed first; its cache holds all positions before
  int64_t count = 0;                 // to choose, at most: 1 or more, and the cache has room for all but the last
  std::vector<int32_t> ends = {};    // the last of them may be one of these: no more are wanted then
  std::vector<int32_t> banned = {};  // never chosen; in increasing order
  numerics::SampleRule rule = {};
  numerics::DrawKey key = {};
};

// Where a model runs. Weights are loaded once; then one step at a time: BeginStep, the operators in the model's order,
// EndStep. Operators may run late and side by side as long as each sees what the ones before it wrote; EndStep waits.
// Weights stay where the caller has them (usually a mapped file) and must outlive the back end.
//
// A row's results don't depend on which other rows are in the step: the same bits for one token at a time, a whole
// prompt, or several sequences together (docs/numerics.md).
class Backend {
 public:
  virtual ~Backend() = default;

  virtual std::string Describe() const = 0;  // "cpu avx512, 2 threads"

  virtual Result<EmbeddingId> LoadEmbedding(const WeightMatrix& weight) = 0;
  virtual Result<LinearId> LoadLinear(const LinearWeights& weights, LinearPlace place) = 0;
  virtual Result<LayerNormId> LoadLayerNorm(const LayerNormWeights& weights, int64_t layer) = 0;
  // After the last weight and before the first step: what needs to see all weights together.
  virtual Status FinishLoading() = 0;
  virtual Activation Allocate(std::string_view name, int64_t cols) = 0;
  virtual Result<std::unique_ptr<KvStore>> AllocateKv(int64_t positions) = 0;

  // `rows` stays alive until EndStep. Tokens are in [0, vocab_size), pos in [0, kv->capacity()).
  virtual Status BeginStep(std::span<const StepRow> rows) = 0;
  virtual void Embed(EmbeddingId embedding, Activation out) = 0;
  virtual void LayerNorm(LayerNormId norm, Activation in, Activation out) = 0;
  virtual void Linear(LinearId linear, Activation in, Activation out) = 0;
  // Rotates q and k, appends k and v to each row's KvStore, and attends to positions 0..pos of that sequence.
  virtual void Attention(int64_t layer, Activation q, Activation k, Activation v, Activation out) = 0;
  virtual void Gelu(int64_t layer, Activation in, Activation out) = 0;
  // x = (attention + mlp) + x
  virtual void AddResidual(Activation attention, Activation mlp, Activation x) = 0;
  // Keeps, in order, the rows of `in` that want logits; operators on `out` then work on those alone.
  virtual void GatherLogitRows(Activation in, Activation out) = 0;
  virtual Status EndStep() = 0;

  // Whether Generate takes such a generation: that it runs without the host between tokens, and chooses the same.
  virtual bool CanGenerate(const Generation& /*generation*/) const { return false; }
  // Hands every token to `take` as it is chosen, until `take` says false (no more are wanted) or `count` or an end is
  // reached. The back end may be ahead of `take`: positions after the last taken token's may hold anything, and are
  // computed again by whoever goes on. It may end early without an error; the caller then goes on with steps.
  virtual Status Generate(const Generation& /*generation*/, const std::function<bool(int32_t)>& /*take*/) {
    return Unsupported("this back end computes steps alone");
  }

  // Values that the integer arithmetic had to saturate in the residual stream so far: the calibration didn't foresee
  // them.
  virtual int64_t saturated() const { return 0; }

  // The activation's rows as float32, row-major: [rows, cols]. Between its operator and EndStep, or after EndStep.
  // Valid until the next BeginStep.
  virtual std::span<const float> Read(Activation activation) = 0;
};

}  // namespace phidias
