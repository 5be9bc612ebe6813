#include "backend/fpga/fpga_backend.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "backend/fpga/card_kv.h"
#include "backend/fpga/card_model.h"
#include "backend/fpga/host_operators.h"
#include "backend/fpga/packed_cache.h"
#include "backend/fpga/packed_file.h"
#include "backend/fpga/packer.h"
#include "backend/fpga/schedule_recorder.h"
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
      : options_(options),
        design_(design),
        open_card_(std::move(open_card)),
        host_(shape, setup),
        recorder_(options.order, options.host_ops) {
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
    Recorded(recorder_.LayerNorm(norms_[Index(norm)], in, out));
  }
  void Linear(LinearId linear, Activation in, Activation out) override {
    Recorded(recorder_.Linear(linears_[Index(linear)], in, out));
  }
  void Attention(int64_t layer, Activation q, Activation k, Activation v, Activation out) override {
    Recorded(recorder_.Attention(layer, q, k, v, out));
  }
  void Gelu(int64_t layer, Activation in, Activation out) override { Recorded(recorder_.Gelu(layer, in, out)); }
  void AddResidual(Activation attention, Activation mlp, Activation x) override {
    Recorded(recorder_.AddResidual(attention, mlp, x));
  }
  void GatherLogitRows(Activation in, Activation out) override { recorder_.GatherLogitRows(in, out); }
  Status EndStep() override {
    Flush();
    return step_status_;
  }
  std::span<const float> Read(Activation activation) override;

  CardUse Use() const override {
    return {.runs = runner_ == nullptr ? std::map<std::string, int64_t>() : runner_->runs(),
            .weight_bytes = model_ == nullptr ? 0 : model_->placement().weight_bytes(),
            .generated = 0,
            .packed = packed_path_,
            .fallback = ""};
  }
  Status CardStatus() const override { return card_status_; }

 private:
  // A node was recorded.
  void Recorded(const ScheduleNode& node) {
    if (node.logit_rows) {
      runner_->SetGathered(node.writes);
    }
  }
  // Executes what is recorded, for every row.
  void Flush();
  Status RunRows();
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
  ScheduleRecorder recorder_;
  std::vector<float> gathered_rows_;
  Status step_status_;
  Status card_status_;
};

Status FpgaBackend::FinishLoading() {
  ASSIGN_OR_RETURN(PlacementOptions placing, CheckWeights(weights_, options_.host_ops));
  placing.positions = 1;  // caches are placed when they are made
  ASSIGN_OR_RETURN(HbmPlacement placement, PlanPlacement(weights_.shape, design_, placing));
  // The card first: without one there is nothing to pack for.
  ASSIGN_OR_RETURN(std::shared_ptr<CardDevice> card, open_card_(placement));
  const auto pack = [&](const std::string& path) {
    return PackModel(weights_, placement, path, host_.pool(), {.cancel = options_.cancel, .progress = {}});
  };
  ASSIGN_OR_RETURN(PackedFile packed, OpenPacked({.design = design_.name,
                                                  .header = HeaderOf(weights_, placement),
                                                  .path = options_.packed,
                                                  .pack = pack,
                                                  .notice = options_.notice},
                                                 host_.pool()));
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
  recorder_.BeginStep();
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
    host_.Embed(embeddings_[Index(embedding)], rows_[Index(m)].token, runner_->WriteRow(recorder_.Resolve(out), m));
  }
}

void FpgaBackend::Flush() {
  if (recorder_.schedule().nodes().empty()) {
    return;
  }
  if (step_status_.ok()) {
    step_status_ = RunRows();
    if (!step_status_.ok() && step_status_.code() != StatusCode::kCancelled) {
      card_status_ = step_status_;
    }
  }
  recorder_.Clear();
}

Status FpgaBackend::RunRows() {
  int64_t logit_row = 0;
  for (int64_t m = 0; m < std::ssize(rows_); ++m) {
    const StepRow& row = rows_[Index(m)];
    RETURN_IF_ERROR(runner_->Run(recorder_.schedule(), row, m, row.wants_logits ? logit_row : -1));
    logit_row += row.wants_logits ? 1 : 0;
  }
  return {};
}

std::span<const float> FpgaBackend::Read(Activation activation) {
  Flush();
  if (step_status_.ok()) {
    step_status_ = runner_->Fetch(recorder_.Resolve(activation));
  }
  const std::span<const float> values = runner_->Values(recorder_.Resolve(activation));
  if (!recorder_.IsGathered(activation)) {
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
