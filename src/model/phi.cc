#include "model/phi.h"

namespace phidias {

ModelShape ShapeOf(const PhiConfig& config) {
  return {.n_layers = config.n_layers,
          .hidden_size = config.hidden_size,
          .intermediate_size = config.intermediate_size,
          .n_heads = config.n_heads,
          .n_kv_heads = config.n_kv_heads,
          .head_dim = config.head_dim,
          .rotary_dim = config.rotary_dim,
          .vocab_size = config.vocab_size,
          .max_positions = config.max_position_embeddings,
          .rope_theta = config.rope_theta,
          .layer_norm_eps = config.layer_norm_eps};
}

Result<std::unique_ptr<Phi>> Phi::Create(std::shared_ptr<const Checkpoint> checkpoint,
                                         std::unique_ptr<Backend> backend) {
  std::unique_ptr<Phi> phi(new Phi(std::move(checkpoint), std::move(backend)));
  RETURN_IF_ERROR(phi->LoadWeights());
  phi->AllocateActivations();
  return phi;
}

Status Phi::LoadWeights() {
  const PhiWeights& weights = checkpoint_->weights;
  Backend& b = *backend_;
  ASSIGN_OR_RETURN(embed_tokens_, b.LoadEmbedding(weights.embed_tokens));
  for (size_t i = 0; i < weights.layers.size(); ++i) {
    const PhiLayerWeights& w = weights.layers[i];
    const auto index = static_cast<int64_t>(i);
    Layer layer{};
    ASSIGN_OR_RETURN(layer.input_layernorm, b.LoadLayerNorm(w.input_layernorm, index));
    ASSIGN_OR_RETURN(layer.q_proj, b.LoadLinear(w.q_proj, {LinearRole::kQ, index}));
    ASSIGN_OR_RETURN(layer.k_proj, b.LoadLinear(w.k_proj, {LinearRole::kK, index}));
    ASSIGN_OR_RETURN(layer.v_proj, b.LoadLinear(w.v_proj, {LinearRole::kV, index}));
    ASSIGN_OR_RETURN(layer.dense, b.LoadLinear(w.dense, {LinearRole::kDense, index}));
    ASSIGN_OR_RETURN(layer.fc1, b.LoadLinear(w.fc1, {LinearRole::kFc1, index}));
    ASSIGN_OR_RETURN(layer.fc2, b.LoadLinear(w.fc2, {LinearRole::kFc2, index}));
    layers_.push_back(layer);
  }
  ASSIGN_OR_RETURN(final_layernorm_, b.LoadLayerNorm(weights.final_layernorm, kFinalNorm));
  ASSIGN_OR_RETURN(lm_head_, b.LoadLinear(weights.lm_head, {LinearRole::kLmHead, 0}));
  return b.FinishLoading();
}

void Phi::AllocateActivations() {
  const PhiConfig& c = checkpoint_->config;
  Backend& b = *backend_;
  a_ = {.x = b.Allocate("x", c.hidden_size),
        .h = b.Allocate("h", c.hidden_size),
        .q = b.Allocate("q", c.n_heads * c.head_dim),
        .k = b.Allocate("k", c.kv_size()),
        .v = b.Allocate("v", c.kv_size()),
        .att = b.Allocate("att", c.n_heads * c.head_dim),
        .att_out = b.Allocate("att_out", c.hidden_size),
        .ff = b.Allocate("ff", c.intermediate_size),
        .gelu = b.Allocate("gelu", c.intermediate_size),
        .mlp_out = b.Allocate("mlp_out", c.hidden_size),
        .last = b.Allocate("last", c.hidden_size),
        .logits = b.Allocate("logits", c.vocab_size)};
}

// The model. x + attention(LN(x)) + mlp(LN(x)) in every layer, one LayerNorm for both branches.

Status Phi::Forward(const StepOptions& options) {
  Backend& b = *backend_;
  const PhiConfig& c = checkpoint_->config;
  b.Embed(embed_tokens_, a_.x);
  if (options.trace) {
    options.trace("embed_tokens.out", c.hidden_size, b.Read(a_.x));
  }
  for (int64_t i = 0; i < c.n_layers; ++i) {
    if (options.cancel != nullptr && options.cancel->load(std::memory_order_relaxed)) {
      return {StatusCode::kCancelled, "stopped on request"};
    }
    RunLayer(i, options);
  }
  if (!options.logits) {
    b.LayerNorm(final_layernorm_, a_.x, a_.h);
    if (options.trace) {
      options.trace("final_layernorm.out", c.hidden_size, b.Read(a_.h));
    }
    return {};
  }
  // Logits cost a pass over the largest matrix: only rows that are asked for go on.
  b.GatherLogitRows(a_.x, a_.last);
  b.LayerNorm(final_layernorm_, a_.last, a_.last);
  b.Linear(lm_head_, a_.last, a_.logits);
  if (options.trace) {
    options.trace("final_layernorm.out", c.hidden_size, b.Read(a_.last));
    options.trace("logits", c.vocab_size, b.Read(a_.logits));
  }
  return {};
}

void Phi::RunLayer(int64_t index, const StepOptions& options) {
  Backend& b = *backend_;
  const PhiConfig& c = checkpoint_->config;
  const Layer& layer = layers_[static_cast<size_t>(index)];
  const auto trace = [&](const char* name, int64_t cols, Activation activation) {
    if (options.trace) {
      options.trace("layers." + std::to_string(index) + "." + name, cols, b.Read(activation));
    }
  };

  b.LayerNorm(layer.input_layernorm, a_.x, a_.h);
  trace("input_layernorm.out", c.hidden_size, a_.h);

  b.Linear(layer.q_proj, a_.h, a_.q);
  b.Linear(layer.k_proj, a_.h, a_.k);
  b.Linear(layer.v_proj, a_.h, a_.v);
  trace("self_attn.q_proj.out", c.n_heads * c.head_dim, a_.q);
  trace("self_attn.k_proj.out", c.kv_size(), a_.k);
  trace("self_attn.v_proj.out", c.kv_size(), a_.v);
  b.Attention(index, a_.q, a_.k, a_.v, a_.att);
  trace("self_attn.dense.in", c.n_heads * c.head_dim, a_.att);
  b.Linear(layer.dense, a_.att, a_.att_out);
  trace("self_attn.dense.out", c.hidden_size, a_.att_out);

  b.Linear(layer.fc1, a_.h, a_.ff);
  trace("mlp.fc1.out", c.intermediate_size, a_.ff);
  b.Gelu(index, a_.ff, a_.gelu);
  trace("mlp.fc2.in", c.intermediate_size, a_.gelu);
  b.Linear(layer.fc2, a_.gelu, a_.mlp_out);
  trace("mlp.fc2.out", c.hidden_size, a_.mlp_out);

  b.AddResidual(a_.att_out, a_.mlp_out, a_.x);
  trace("out", c.hidden_size, a_.x);
}

Result<std::span<const float>> Phi::Step(std::span<const StepRow> rows, const StepOptions& options) {
  RETURN_IF_ERROR(backend_->BeginStep(rows));
  Status status = Forward(options);
  Status end = backend_->EndStep();
  RETURN_IF_ERROR(status);
  RETURN_IF_ERROR(end);
  RETURN_IF_ERROR(checkpoint_->store.CheckFiles());
  return options.logits ? backend_->Read(a_.logits) : std::span<const float>();
}

Status Phi::Generate(const Generation& generation, const std::function<bool(int32_t)>& take) {
  RETURN_IF_ERROR(backend_->Generate(generation, take));
  return checkpoint_->store.CheckFiles();
}

Result<KvCache> Phi::NewKvCache(int64_t positions) const {
  if (positions < 1 || positions > config().max_position_embeddings) {
    return InvalidArgument("a context of ", positions, " positions: this model takes 1 to ",
                           config().max_position_embeddings);
  }
  ASSIGN_OR_RETURN(std::unique_ptr<KvStore> store, backend_->AllocateKv(positions));
  return KvCache(std::move(store));
}

}  // namespace phidias
