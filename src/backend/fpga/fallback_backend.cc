#include "backend/fpga/fallback_backend.h"

#include <algorithm>
#include <set>
#include <utility>
#include <vector>

namespace phidias::fpga {
namespace {

constexpr size_t kReplayRows = 64;  // tokens of a step when keys and values are made anew

class FallbackKv;
using KvRegistry = std::set<FallbackKv*>;

// A sequence's cache where the model runs now, and the tokens to make it from elsewhere.
class FallbackKv final : public KvStore {
 public:
  FallbackKv(int64_t capacity, std::unique_ptr<KvStore> store, std::shared_ptr<KvRegistry> registry)
      : capacity_(capacity), store_(std::move(store)), registry_(std::move(registry)) {
    registry_->insert(this);
  }
  ~FallbackKv() override { registry_->erase(this); }

  int64_t capacity() const override { return capacity_; }
  int64_t bytes() const override { return store_->bytes(); }

  KvStore* store() const { return store_.get(); }
  void Move(std::unique_ptr<KvStore> store) { store_ = std::move(store); }
  // The token at `pos` is computed; what was behind it is forgotten.
  void Note(int32_t pos, int32_t token) {
    tokens_.resize(static_cast<size_t>(pos));
    tokens_.push_back(token);
  }
  const std::vector<int32_t>& tokens() const { return tokens_; }

 private:
  int64_t capacity_;
  std::unique_ptr<KvStore> store_;
  std::vector<int32_t> tokens_;
  std::shared_ptr<KvRegistry> registry_;
};

bool IsFailure(const Status& status) {
  return !status.ok() && status.code() != StatusCode::kCancelled && status.code() != StatusCode::kInvalidArgument;
}

class FallbackBackend final : public CardBackend {
 public:
  FallbackBackend(std::unique_ptr<CardBackend> card, MakeBackend make_host,
                  std::function<void(const std::string&)> notice)
      : card_(std::move(card)), make_host_(std::move(make_host)), notice_(std::move(notice)) {}

  std::string Describe() const override {
    return host_ == nullptr ? card_->Describe() : host_->Describe() + " (in place of the card)";
  }

  // The card takes weights without looking at them; FinishLoading does.
  Result<EmbeddingId> LoadEmbedding(const WeightMatrix& weight) override {
    const size_t index = embeddings_.size();
    embeddings_.emplace_back();
    RETURN_IF_ERROR(Load([this, index, &weight](Backend& b) -> Status {
      ASSIGN_OR_RETURN(embeddings_[index], b.LoadEmbedding(weight));
      return {};
    }));
    return EmbeddingId{static_cast<int32_t>(index)};
  }
  Result<LinearId> LoadLinear(const LinearWeights& weights, LinearPlace place) override {
    const size_t index = linears_.size();
    linears_.emplace_back();
    RETURN_IF_ERROR(Load([this, index, &weights, place](Backend& b) -> Status {
      ASSIGN_OR_RETURN(linears_[index], b.LoadLinear(weights, place));
      return {};
    }));
    return LinearId{static_cast<int32_t>(index)};
  }
  Result<LayerNormId> LoadLayerNorm(const LayerNormWeights& weights, int64_t layer) override {
    const size_t index = norms_.size();
    norms_.emplace_back();
    RETURN_IF_ERROR(Load([this, index, &weights, layer](Backend& b) -> Status {
      ASSIGN_OR_RETURN(norms_[index], b.LoadLayerNorm(weights, layer));
      return {};
    }));
    return LayerNormId{static_cast<int32_t>(index)};
  }
  Status FinishLoading() override {
    RETURN_IF_ERROR(Load([](Backend& b) { return b.FinishLoading(); }));
    return {};
  }
  Activation Allocate(std::string_view name, int64_t cols) override {
    const size_t index = activations_.size();
    activations_.emplace_back();
    setup_.emplace_back([this, index, name = std::string(name), cols](Backend& b) -> Status {
      activations_[index] = b.Allocate(name, cols);
      return {};
    });
    setup_.back()(active()).ok();  // never fails
    return Activation{static_cast<int32_t>(index)};
  }
  Result<std::unique_ptr<KvStore>> AllocateKv(int64_t positions) override {
    Result<std::unique_ptr<KvStore>> store = active().AllocateKv(positions);
    // That a card has no room for one more sequence is no reason to leave it with those that it has.
    const bool full = !registry_->empty() && store.status().code() == StatusCode::kResourceExhausted;
    if (!store.ok() && host_ == nullptr && IsFailure(store.status()) && !full) {
      RETURN_IF_ERROR(SwitchToHost(store.status()));
      store = active().AllocateKv(positions);
    }
    RETURN_IF_ERROR(store.status());
    return std::unique_ptr<KvStore>(std::make_unique<FallbackKv>(positions, *std::move(store), registry_));
  }

  Status BeginStep(std::span<const StepRow> rows) override {
    rows_.assign(rows.begin(), rows.end());
    step_.clear();
    return BeginRows(rows_);
  }
  void Embed(EmbeddingId embedding, Activation out) override {
    Do([this, embedding, out](Backend& b) { b.Embed(embeddings_[Index(embedding)], Of(out)); });
  }
  void LayerNorm(LayerNormId norm, Activation in, Activation out) override {
    Do([this, norm, in, out](Backend& b) { b.LayerNorm(norms_[Index(norm)], Of(in), Of(out)); });
  }
  void Linear(LinearId linear, Activation in, Activation out) override {
    Do([this, linear, in, out](Backend& b) { b.Linear(linears_[Index(linear)], Of(in), Of(out)); });
  }
  void Attention(int64_t layer, Activation q, Activation k, Activation v, Activation out) override {
    Do([this, layer, q, k, v, out](Backend& b) { b.Attention(layer, Of(q), Of(k), Of(v), Of(out)); });
  }
  void Gelu(int64_t layer, Activation in, Activation out) override {
    Do([this, layer, in, out](Backend& b) { b.Gelu(layer, Of(in), Of(out)); });
  }
  void AddResidual(Activation attention, Activation mlp, Activation x) override {
    Do([this, attention, mlp, x](Backend& b) { b.AddResidual(Of(attention), Of(mlp), Of(x)); });
  }
  void GatherLogitRows(Activation in, Activation out) override {
    Do([this, in, out](Backend& b) { b.GatherLogitRows(Of(in), Of(out)); });
  }
  Status EndStep() override {
    Status status = active().EndStep();
    if (host_ == nullptr && IsFailure(status)) {
      RETURN_IF_ERROR(SwitchToHost(status));
      RETURN_IF_ERROR(Replay(rows_, step_));
      status = host_->EndStep();
    }
    RETURN_IF_ERROR(status);
    for (const StepRow& row : rows_) {
      static_cast<FallbackKv*>(row.kv)->Note(row.pos, row.token);
    }
    std::swap(step_, last_step_);
    return {};
  }
  std::span<const float> Read(Activation activation) override {
    const std::span<const float> values = active().Read(Of(activation));
    if (host_ != nullptr || !IsFailure(card_->CardStatus()) || !SwitchToHost(card_->CardStatus()).ok() ||
        !Replay(rows_, step_).ok()) {
      return values;
    }
    return host_->Read(Of(activation));
  }

  bool CanGenerate(const Generation& generation) const override {
    return host_ == nullptr && !last_step_.empty() && card_->CanGenerate(generation);
  }
  // A card that fails in the middle leaves the rest to steps.
  Status Generate(const Generation& generation, const std::function<bool(int32_t)>& take) override {
    auto* const kv = static_cast<FallbackKv*>(generation.first.kv);
    Generation inner = generation;
    inner.first.kv = kv->store();
    int32_t pos = generation.first.pos;
    int32_t token = generation.first.token;
    const Status status = card_->Generate(inner, [&](int32_t id) {
      kv->Note(pos++, token);
      token = id;
      return take(id);
    });
    return IsFailure(status) ? SwitchToHost(status) : status;
  }

  CardUse Use() const override {
    CardUse use = card_->Use();
    use.fallback = reason_.message();
    return use;
  }
  Status CardStatus() const override { return reason_; }

 private:
  using Setup = std::function<Status(Backend&)>;
  using Step = std::function<void(Backend&)>;

  template <class Id>
  static size_t Index(Id id) {
    return static_cast<size_t>(id);
  }
  Activation Of(Activation activation) const { return activations_[Index(activation)]; }
  Backend& active() { return host_ != nullptr ? *host_ : static_cast<Backend&>(*card_); }

  Status Load(Setup setup) {
    setup_.push_back(std::move(setup));
    const Status status = setup_.back()(active());
    return host_ == nullptr && IsFailure(status) ? SwitchToHost(status) : status;
  }
  void Do(Step step) {
    step_.push_back(std::move(step));
    step_.back()(active());
  }

  Status BeginRows(const std::vector<StepRow>& rows) {
    inner_rows_ = rows;
    for (StepRow& row : inner_rows_) {
      row.kv = row.kv == nullptr ? nullptr : static_cast<FallbackKv*>(row.kv)->store();
    }
    return active().BeginStep(inner_rows_);
  }
  // The step's operators so far, on the back end that is active now; EndStep is the caller's.
  Status Replay(const std::vector<StepRow>& rows, const std::vector<Step>& step) {
    RETURN_IF_ERROR(BeginRows(rows));
    for (const Step& operation : step) {
      operation(active());
    }
    return {};
  }

  Status SwitchToHost(const Status& reason) {
    reason_ = reason;
    if (notice_) {
      notice_("the card failed, going on with the CPU: " + reason.message());
    }
    ASSIGN_OR_RETURN(host_, make_host_());
    for (const Setup& setup : setup_) {
      RETURN_IF_ERROR(setup(*host_));
    }
    const std::vector<Step> forward = last_step_.empty() ? step_ : last_step_;
    for (FallbackKv* const kv : *registry_) {
      RETURN_IF_ERROR(Rebuild(kv, forward));
    }
    return {};
  }

  // Runs the sequence's tokens through the operators of a whole step.
  Status Rebuild(FallbackKv* kv, const std::vector<Step>& forward) {
    ASSIGN_OR_RETURN(std::unique_ptr<KvStore> store, host_->AllocateKv(kv->capacity()));
    kv->Move(std::move(store));
    for (size_t begin = 0; begin < kv->tokens().size(); begin += kReplayRows) {
      std::vector<StepRow> rows;
      for (size_t pos = begin; pos < std::min(begin + kReplayRows, kv->tokens().size()); ++pos) {
        rows.push_back({.token = kv->tokens()[pos], .pos = static_cast<int32_t>(pos), .kv = kv, .wants_logits = false});
      }
      RETURN_IF_ERROR(Replay(rows, forward));
      RETURN_IF_ERROR(host_->EndStep());
    }
    return {};
  }

  std::unique_ptr<CardBackend> card_;
  MakeBackend make_host_;
  std::function<void(const std::string&)> notice_;
  std::unique_ptr<Backend> host_;  // null as long as the card works
  Status reason_;

  std::vector<Setup> setup_;  // weights and activations, to be handed to the host
  // Our ids -> those of the active back end.
  std::vector<EmbeddingId> embeddings_;
  std::vector<LinearId> linears_;
  std::vector<LayerNormId> norms_;
  std::vector<Activation> activations_;
  std::shared_ptr<KvRegistry> registry_ = std::make_shared<KvRegistry>();

  std::vector<StepRow> rows_;        // of the step, with our KvStores
  std::vector<StepRow> inner_rows_;  // with the active back end's
  std::vector<Step> step_;           // operators so far
  std::vector<Step> last_step_;      // of the last whole step
};

}  // namespace

std::unique_ptr<CardBackend> CreateFallbackBackend(std::unique_ptr<CardBackend> card, MakeBackend make_host,
                                                   std::function<void(const std::string&)> notice) {
  return std::make_unique<FallbackBackend>(std::move(card), std::move(make_host), std::move(notice));
}

}  // namespace phidias::fpga
