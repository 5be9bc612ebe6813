#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "common/status.h"
#include "model/checkpoint.h"
#include "model/kv_cache.h"

namespace phidias {

// Sees every named activation of a step as it is made: [rows, cols] float32, row-major. Names are those of the goldens
// ("layers.3.self_attn.q_proj.out"), which are the module paths of Hugging Face's PhiForCausalLM.
using TraceSink = std::function<void(const std::string& name, int64_t cols, std::span<const float> values)>;

struct StepOptions {
  TraceSink trace;                            // empty: none
  const std::atomic<bool>* cancel = nullptr;  // looked at between layers
  // false: stop after the final LayerNorm, which then runs (and is traced) for every row. Calibration looks at
  // activations alone, and lm_head is the largest matrix.
  bool logits = true;
};

// A Phi model on a back end. One step at a time; not for several threads at once.
class Phi {
 public:
  // Hands the weights to the back end. `checkpoint` is kept: its mapped files are what the back end reads.
  static Result<std::unique_ptr<Phi>> Create(std::shared_ptr<const Checkpoint> checkpoint,
                                             std::unique_ptr<Backend> backend);

  // Computes `rows` (any mixture of sequences; see StepRow) and returns the logits of those that want them, in order:
  // [count, vocab_size], valid until the next step. Errors: a token or position out of range, a weight file that
  // shrank, cancellation.
  Result<std::span<const float>> Step(std::span<const StepRow> rows, const StepOptions& options = {});

  // Backend::CanGenerate and Generate. Errors of Generate also: a weight file that shrank.
  bool CanGenerate(const Generation& generation) const { return backend_->CanGenerate(generation); }
  Status Generate(const Generation& generation, const std::function<bool(int32_t)>& take);

  // An empty cache for `positions` (1..max_position_embeddings) positions.
  Result<KvCache> NewKvCache(int64_t positions) const;

  const PhiConfig& config() const { return checkpoint_->config; }
  const Checkpoint& checkpoint() const { return *checkpoint_; }
  const Backend& backend() const { return *backend_; }

 private:
  struct Layer {
    LayerNormId input_layernorm;
    LinearId q_proj, k_proj, v_proj, dense, fc1, fc2;
  };
  struct Activations {
    Activation x;         // residual stream [M, hidden]
    Activation h;         // LayerNorm's output [M, hidden]
    Activation q, k, v;   // [M, heads * head_dim], [M, kv_heads * head_dim] twice
    Activation att;       // heads put together [M, heads * head_dim]
    Activation att_out;   // dense's output [M, hidden]
    Activation ff, gelu;  // fc1's output and its gelu [M, intermediate]
    Activation mlp_out;   // fc2's output [M, hidden]
    Activation last;      // rows that want logits [L, hidden]
    Activation logits;    // [L, vocab]
  };

  Phi(std::shared_ptr<const Checkpoint> checkpoint, std::unique_ptr<Backend> backend)
      : checkpoint_(std::move(checkpoint)), backend_(std::move(backend)) {}
  Status LoadWeights();
  void AllocateActivations();
  Status Forward(const StepOptions& options);
  void RunLayer(int64_t index, const StepOptions& options);

  std::shared_ptr<const Checkpoint> checkpoint_;  // outlives backend_, which reads its files
  std::unique_ptr<Backend> backend_;
  EmbeddingId embed_tokens_{};
  std::vector<Layer> layers_;
  LayerNormId final_layernorm_{};
  LinearId lm_head_{};
  Activations a_{};
};

// What the back end must know, from the configuration.
ModelShape ShapeOf(const PhiConfig& config);

}  // namespace phidias
