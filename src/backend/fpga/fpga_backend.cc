#include "backend/fpga/fpga_backend.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "backend/fpga/card_kv.h"
#include "backend/fpga/card_model.h"
#include "backend/fpga/host_operators.h"
#include "backend/fpga/packed_cache.h"
#include "backend/fpga/packed_file.h"
#include "backend/fpga/packer.h"
#include "backend/fpga/token_runner.h"

namespace phidias::fpga {
namespace {

template <class Id>
size_t Index(Id id) {
  return static_cast<size_t>(id);
}

class FpgaBackend final : public CardBackend {
 public:
  FpgaBackend(const ModelShape& shape, const CardOptions& options, const hls::DesignPoint& design,
              const CpuSetup& setup, OpenCard open_card)
      : options_(options), design_(design), open_card_(std::move(open_card)), host_(shape, setup) {
    weights_.shape = shape;
    weights_.layers.resize(static_cast<size_t>(shape.n_layers));
  }

  std::string Describe() const override {
    return StrCat(model_ == nullptr ? "card" : model_->card().Describe(), ", design ", design_.name,
                  options_.order == ScheduleOrder::kSequential ? ", sequential" : "",
                  options_.host_ops.empty() ? "" : ", on the host: " + ToString(options_.host_ops));
  }

  Result<EmbeddingId> LoadEmbedding(const WeightMatrix& weight) override {
    embeddings_.push_back(weight);
    return EmbeddingId{static_cast<int32_t>(embeddings_.size() - 1)};
  }
  Result<LinearId> LoadLinear(const LinearWeights& weights, LinearPlace place) override {
    const LinearWeights*& slot = place.role == LinearRole::kLmHead
                                     ? weights_.lm_head
                                     : weights_.layers[Index(place.layer)].linears[Index(place.role)];
    slot = &weights;
    linears_.push_back(place);
    return LinearId{static_cast<int32_t>(linears_.size() - 1)};
  }
  Result<LayerNormId> LoadLayerNorm(const LayerNormWeights& weights, int64_t layer) override {
    (layer == kFinalNorm ? weights_.final_norm : weights_.layers[Index(layer)].norm) = &weights;
    norms_.push_back(layer);
    return LayerNormId{static_cast<int32_t>(norms_.size() - 1)};
  }
  Status FinishLoading() override;

  Activation Allocate(std::string_view name, int64_t cols) override {
    return Activation{runner_->AddActivation(name, cols)};
  }
  Result<std::unique_ptr<KvStore>> AllocateKv(int64_t positions) override;

  Status BeginStep(std::span<const StepRow> rows) override;
  void Embed(EmbeddingId embedding, Activation out) override;
  void LayerNorm(LayerNormId norm, Activation in, Activation out) override {
    Record({.op = CardOp::kLayerNorm, .layer = norms_[Index(norm)], .unit = "layernorm"}, {in}, out);
  }
  void Linear(LinearId linear, Activation in, Activation out) override {
    const LinearPlace& place = linears_[Index(linear)];
    Record({.op = OpOf(place.role), .layer = place.layer, .unit = UnitOf(place.role)}, {in}, out);
  }
  void Attention(int64_t layer, Activation q, Activation k, Activation v, Activation out) override {
    Record({.op = CardOp::kAttention, .layer = layer, .unit = "attention"}, {q, k, v}, out);
  }
  void Gelu(int64_t layer, Activation in, Activation out) override {
    Record({.op = CardOp::kGelu, .layer = layer, .unit = "gelu"}, {in}, out);
  }
  void AddResidual(Activation attention, Activation mlp, Activation x) override {
    Record({.op = CardOp::kResidual, .layer = residuals_++, .unit = "residual"}, {attention, mlp, x}, x);
  }
  void GatherLogitRows(Activation in, Activation out) override;
  Status EndStep() override {
    Flush();
    return step_status_;
  }
  std::span<const float> Read(Activation activation) override;

  CardUse Use() const override {
    return {.runs = runner_ == nullptr ? std::map<std::string, int64_t>() : runner_->runs(),
            .weight_bytes = model_ == nullptr ? 0 : model_->placement().weight_bytes(),
            .packed = packed_path_,
            .fallback = ""};
  }
  Status CardStatus() const override { return card_status_; }

 private:
  Result<PackedFile> OpenPacked(const HbmPlacement& placement);
  Result<PackedFile> PackIntoCache(const HbmPlacement& placement, uint64_t design, uint64_t model);
  void Record(ScheduleNode node, std::initializer_list<Activation> in, Activation out);
  int32_t Resolve(Activation activation) const;
  // Executes what is recorded, for every row.
  void Flush();
  Status RunRows();
  void Note(const std::string& text) const {
    if (options_.notice) {
      options_.notice(text);
    }
  }

  CardOptions options_;
  const hls::DesignPoint& design_;
  OpenCard open_card_;
  HostOperators host_;
  CardWeights weights_;
  std::vector<WeightMatrix> embeddings_;
  std::vector<LinearPlace> linears_;  // by LinearId
  std::vector<int64_t> norms_;        // by LayerNormId: the layer
  std::string packed_path_;
  std::shared_ptr<KvRoom> key_room_;
  std::shared_ptr<KvRoom> value_room_;
  std::unique_ptr<CardModel> model_;
  std::unique_ptr<TokenRunner> runner_;  // its buffers are the model's card's

  std::span<const StepRow> rows_;
  int64_t logit_rows_ = 0;
  int64_t residuals_ = 0;  // of this step: a residual's layer
  std::optional<Schedule> schedule_;
  // After GatherLogitRows(in, out) and until `out` is written, `out` stands for rows of `in`.
  int32_t gathered_ = kNoActivation;
  int32_t gathered_from_ = kNoActivation;
  std::vector<float> gathered_rows_;
  std::vector<bool> is_gathered_;  // by activation
  Status step_status_;
  Status card_status_;
};

Status FpgaBackend::FinishLoading() {
  ASSIGN_OR_RETURN(PlacementOptions placing, CheckWeights(weights_, options_.host_ops));
  placing.positions = 1;  // caches are placed when they are made
  ASSIGN_OR_RETURN(HbmPlacement placement, PlanPlacement(weights_.shape, design_, placing));
  // The card first: without one there is nothing to pack for.
  ASSIGN_OR_RETURN(std::shared_ptr<CardDevice> card, open_card_(placement));
  ASSIGN_OR_RETURN(PackedFile packed, OpenPacked(placement));
  packed_path_ = packed.path();
  const Card& known = *FindCard(placement.link.platform);
  const auto room = [&placement, &known](const char* argument) {
    const BankRange& banks = *PortBanks(placement.link, "attention", argument);
    const auto bytes = static_cast<int64_t>(FindMemory(known, banks.memory)->bank_bytes);
    return std::make_shared<KvRoom>(
        KvRoom{banks, std::vector<int64_t>(static_cast<size_t>(banks.last - banks.first + 1), bytes)});
  };
  key_room_ = room("k_cache");
  value_room_ = room("v_cache");
  ASSIGN_OR_RETURN(model_, CardModel::Upload(std::move(card), std::move(placement), std::move(packed)));
  runner_ = std::make_unique<TokenRunner>(model_.get(), &weights_, &host_,
                                          RunnerOptions{.timeout = options_.timeout, .cancel = options_.cancel});
  return {};
}

Result<PackedFile> FpgaBackend::OpenPacked(const HbmPlacement& placement) {
  const uint64_t design = DesignFingerprint(design_);
  const uint64_t model = ModelFingerprint(weights_);
  if (options_.packed.empty()) {
    return PackIntoCache(placement, design, model);
  }
  ASSIGN_OR_RETURN(PackedFile packed, PackedFile::Open(options_.packed));
  RETURN_IF_ERROR(packed.CheckBelongs(placement, design, model));
  RETURN_IF_ERROR(packed.VerifyChecksums(host_.pool()));
  return packed;
}

// The cache's copy if it is whole, else a new one.
Result<PackedFile> FpgaBackend::PackIntoCache(const HbmPlacement& placement, uint64_t design, uint64_t model) {
  ASSIGN_OR_RETURN(const std::string path, CachedPackPath(design, model));
  const auto open = [&]() -> Result<PackedFile> {
    ASSIGN_OR_RETURN(PackedFile packed, PackedFile::Open(path));
    RETURN_IF_ERROR(packed.CheckBelongs(placement, design, model));
    RETURN_IF_ERROR(packed.VerifyChecksums(host_.pool()));
    return packed;
  };
  Result<PackedFile> cached = open();
  if (cached.ok()) {
    return cached;
  }
  if (cached.status().code() != StatusCode::kNotFound) {
    Note(cached.status().message());
  }
  Note(StrCat("packing the model for design ", design_.name, ", once, into ", path, " (",
              HumanBytes(static_cast<uint64_t>(placement.packed_bytes())), ")"));
  RETURN_IF_ERROR(PackModel(weights_, placement, path, host_.pool(), {.cancel = options_.cancel, .progress = {}}));
  return open();
}

Result<std::unique_ptr<KvStore>> FpgaBackend::AllocateKv(int64_t positions) {
  if (options_.host_ops.Has(CardOp::kAttention)) {
    return CardKvStore::OnHost(weights_.shape, positions);
  }
  if (positions > design_.max_positions) {
    return ResourceExhausted("a context of ", positions, " positions: the attention kernel takes ",
                             design_.max_positions, " (-c ", design_.max_positions, ")");
  }
  return CardKvStore::OnCard(weights_.shape, positions, model_->shared_card(), key_room_, value_room_);
}

Status FpgaBackend::BeginStep(std::span<const StepRow> rows) {
  rows_ = rows;
  logit_rows_ = 0;
  residuals_ = 0;
  schedule_.emplace(options_.order);
  gathered_ = kNoActivation;
  is_gathered_.clear();
  step_status_ = card_status_;
  for (const StepRow& row : rows) {
    if (row.token < 0 || row.token >= weights_.shape.vocab_size) {
      return InvalidArgument("token id ", row.token, " is outside the vocabulary of ", weights_.shape.vocab_size);
    }
    if (row.kv == nullptr || row.pos < 0 || row.pos >= row.kv->capacity() || row.pos >= weights_.shape.max_positions) {
      return ResourceExhausted("position ", row.pos, " is outside the context");
    }
    logit_rows_ += row.wants_logits ? 1 : 0;
  }
  runner_->BeginStep(std::ssize(rows), logit_rows_);
  return {};
}

void FpgaBackend::Embed(EmbeddingId embedding, Activation out) {
  Flush();
  for (int64_t m = 0; m < std::ssize(rows_); ++m) {
    host_.Embed(embeddings_[Index(embedding)], rows_[Index(m)].token, runner_->WriteRow(Resolve(out), m));
  }
}

int32_t FpgaBackend::Resolve(Activation activation) const {
  const auto id = static_cast<int32_t>(activation);
  return id == gathered_ ? gathered_from_ : id;
}

void FpgaBackend::Record(ScheduleNode node, std::initializer_list<Activation> in, Activation out) {
  is_gathered_.resize(std::max(is_gathered_.size(), Index(out) + 1));
  size_t i = 0;
  for (const Activation activation : in) {
    node.logit_rows |= static_cast<int32_t>(activation) == gathered_ ||
                       (Index(activation) < is_gathered_.size() && is_gathered_[Index(activation)]);
    node.reads[i++] = Resolve(activation);
  }
  node.writes = static_cast<int32_t>(out);
  if (node.writes == gathered_) {
    gathered_ = kNoActivation;
  }
  if (node.logit_rows) {
    is_gathered_[Index(out)] = true;
    runner_->SetGathered(node.writes);
  }
  if (options_.host_ops.Has(node.op)) {
    node.unit = "";
  }
  schedule_->Add(std::move(node));
}

void FpgaBackend::GatherLogitRows(Activation in, Activation out) {
  gathered_from_ = Resolve(in);
  gathered_ = static_cast<int32_t>(out);
}

void FpgaBackend::Flush() {
  if (schedule_->nodes().empty()) {
    return;
  }
  if (step_status_.ok()) {
    step_status_ = RunRows();
    if (!step_status_.ok() && step_status_.code() != StatusCode::kCancelled) {
      card_status_ = step_status_;
    }
  }
  schedule_.emplace(options_.order);
}

Status FpgaBackend::RunRows() {
  int64_t logit_row = 0;
  for (int64_t m = 0; m < std::ssize(rows_); ++m) {
    const StepRow& row = rows_[Index(m)];
    RETURN_IF_ERROR(runner_->Run(*schedule_, row, m, row.wants_logits ? logit_row : -1));
    logit_row += row.wants_logits ? 1 : 0;
  }
  return {};
}

std::span<const float> FpgaBackend::Read(Activation activation) {
  Flush();
  if (step_status_.ok()) {
    step_status_ = runner_->Fetch(Resolve(activation));
  }
  const std::span<const float> values = runner_->Values(Resolve(activation));
  if (static_cast<int32_t>(activation) != gathered_) {
    return values;
  }
  gathered_rows_.clear();
  const size_t cols = rows_.empty() ? 0 : values.size() / rows_.size();
  for (size_t m = 0; m < rows_.size(); ++m) {
    if (rows_[m].wants_logits) {
      gathered_rows_.insert(gathered_rows_.end(), values.begin() + static_cast<ptrdiff_t>(m * cols),
                            values.begin() + static_cast<ptrdiff_t>((m + 1) * cols));
    }
  }
  return gathered_rows_;
}

}  // namespace

Result<std::unique_ptr<CardBackend>> CreateFpgaBackend(const ModelShape& shape, const CardOptions& options,
                                                       OpenCard open_card) {
  ASSIGN_OR_RETURN(const hls::DesignPoint* const design, FindDesign(options.design));
  ASSIGN_OR_RETURN(const CpuSetup setup, ResolveCpuOptions(options.cpu));
  return std::unique_ptr<CardBackend>(
      std::make_unique<FpgaBackend>(shape, options, *design, setup, std::move(open_card)));
}

}  // namespace phidias::fpga
