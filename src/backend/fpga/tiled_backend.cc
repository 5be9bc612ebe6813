#include "backend/fpga/tiled_backend.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <optional>
#include <utility>

#include "backend/cpu/cpu_backend.h"
#include "backend/fpga/packed_cache.h"
#include "backend/fpga/placement.h"
#include "backend/fpga/tiled_link.h"
#include "backend/fpga/tiled_pack.h"
#include "backend/fpga/tiled_packer.h"
#include "backend/fpga/tiled_placement.h"
#include "backend/fpga/tiled_session.h"

namespace phidias::fpga {
namespace {

namespace tiled = hls::tiled;

// Room for so many KV caches of the longest context, as far as a channel has it.
constexpr int64_t kSequences = 8;

// The KV caches' part of every channel, in words: what is taken.
class TiledKvRoom {
 public:
  TiledKvRoom(int64_t begin, int64_t end) : begin_(begin), end_(end) {}

  // The first word of a free range, or none.
  std::optional<int64_t> Take(int64_t words) {
    int64_t at = begin_;
    for (const auto& [first, count] : taken_) {
      if (first - at >= words) {
        break;
      }
      at = first + count;
    }
    if (end_ - at < words) {
      return std::nullopt;
    }
    taken_[at] = words;
    return at;
  }
  void Give(int64_t first) { taken_.erase(first); }
  int64_t words() const { return end_ - begin_; }

 private:
  int64_t begin_;
  int64_t end_;
  std::map<int64_t, int64_t> taken_;  // first word, words
};

class TiledKvStore final : public KvStore {
 public:
  TiledKvStore(std::shared_ptr<TiledKvRoom> room, int64_t base, int64_t positions, int64_t bytes)
      : room_(std::move(room)), base_(base), positions_(positions), bytes_(bytes) {}
  ~TiledKvStore() override { room_->Give(base_); }
  TiledKvStore(const TiledKvStore&) = delete;
  TiledKvStore& operator=(const TiledKvStore&) = delete;

  int64_t capacity() const override { return positions_; }
  int64_t bytes() const override { return bytes_; }
  int32_t base() const { return static_cast<int32_t>(base_); }
  int32_t groups() const { return static_cast<int32_t>(KvGroups(positions_)); }

 private:
  std::shared_ptr<TiledKvRoom> room_;
  int64_t base_;
  int64_t positions_;
  int64_t bytes_;
};

// A generation's choice as the card makes it, among ids from 0 to `ids` - 1.
struct CardChoice {
  TiledChoice choice;
  int32_t ids = 0;
};

class TiledBackend final : public CardBackend {
 public:
  TiledBackend(const ModelShape& shape, const CardOptions& options, const CpuSetup& setup, IntegerConstants constants,
               OpenCard open_card, int64_t tiles)
      : weights_{.shape = shape, .sources = {}, .constants = std::move(constants)},
        options_(options),
        open_card_(std::move(open_card)),
        tiles_(tiles),
        pool_(setup.threads) {
    weights_.sources.layers.resize(static_cast<size_t>(shape.n_layers));
  }

  std::string Describe() const override {
    return StrCat(session_ == nullptr ? "card" : session_->card().Describe(), ", design tiled, ", tiles_,
                  tiles_ == 1 ? " tile" : " tiles");
  }

  Result<EmbeddingId> LoadEmbedding(const WeightMatrix& weight) override {
    weights_.sources.embed_tokens = weight;
    return EmbeddingId{0};
  }
  Result<LinearId> LoadLinear(const LinearWeights& weights, LinearPlace place) override;
  Result<LayerNormId> LoadLayerNorm(const LayerNormWeights& weights, int64_t layer) override {
    (layer == kFinalNorm ? weights_.sources.final_layernorm
                         : weights_.sources.layers[static_cast<size_t>(layer)].input_layernorm) = &weights;
    return LayerNormId{norms_++};
  }
  Status FinishLoading() override;

  Activation Allocate(std::string_view /*name*/, int64_t cols) override {
    cols_.push_back(cols);
    return Activation{static_cast<int32_t>(cols_.size() - 1)};
  }
  Result<std::unique_ptr<KvStore>> AllocateKv(int64_t positions) override;

  // The card runs the whole model; of the operators it is enough to know whether logits are asked for, and where.
  Status BeginStep(std::span<const StepRow> rows) override;
  void Embed(EmbeddingId /*embedding*/, Activation /*out*/) override {}
  void LayerNorm(LayerNormId /*norm*/, Activation /*in*/, Activation /*out*/) override {}
  void Linear(LinearId linear, Activation /*in*/, Activation out) override {
    if (static_cast<int32_t>(linear) == lm_head_) {
      logits_at_ = static_cast<int32_t>(out);
    }
  }
  void Attention(int64_t /*layer*/, Activation /*q*/, Activation /*k*/, Activation /*v*/, Activation /*out*/) override {
  }
  void Gelu(int64_t /*layer*/, Activation /*in*/, Activation /*out*/) override {}
  void AddResidual(Activation /*attention*/, Activation /*mlp*/, Activation /*x*/) override {}
  void GatherLogitRows(Activation /*in*/, Activation /*out*/) override {}
  Status EndStep() override {
    RunStep();
    return step_status_;
  }
  int64_t saturated() const override { return saturated_; }
  std::span<const float> Read(Activation activation) override;

  CardUse Use() const override {
    return {.runs = starts_,
            .weight_bytes = weight_bytes_,
            .generated = generated_,
            .packed = packed_path_,
            .fallback = ""};
  }
  Status CardStatus() const override { return card_status_; }

  bool CanGenerate(const Generation& generation) const override {
    return card_status_.ok() && ChoiceOf(generation).has_value();
  }
  Status Generate(const Generation& generation, const std::function<bool(int32_t)>& take) override;

 private:
  const ModelShape& shape() const { return weights_.shape; }
  Status StartSession(std::shared_ptr<CardDevice> card, const PackedFile& packed, const TiledPlacement& plan);
  Status CheckRow(int32_t token, int32_t pos, const KvStore* kv) const;
  void RunStep();
  Status RunPasses();
  Status RunPass(size_t first, size_t count);
  Result<TiledResult> Noted(Result<TiledResult> result);
  std::optional<CardChoice> ChoiceOf(const Generation& generation) const;

  TiledWeights weights_;
  CardOptions options_;
  OpenCard open_card_;
  int64_t tiles_;
  ThreadPool pool_;
  int32_t linears_ = 0;
  int32_t norms_ = 0;
  int32_t lm_head_ = -1;
  std::vector<int64_t> cols_;  // by activation
  tiled::Pass sizes_{};
  std::string packed_path_;
  int64_t weight_bytes_ = 0;
  std::map<std::string, int64_t> starts_;
  std::shared_ptr<TiledKvRoom> room_;
  std::unique_ptr<TiledSession> session_;

  std::span<const StepRow> rows_;
  bool step_done_ = false;
  int32_t logits_at_ = -1;     // the activation that is the logits, in this step
  std::vector<float> logits_;  // [rows that want them, vocab_size]
  std::vector<float> unread_;  // zeros, for an activation that isn't there
  Status step_status_;
  Status card_status_;
  int64_t saturated_ = 0;
  int64_t generated_ = 0;
};

Result<LinearId> TiledBackend::LoadLinear(const LinearWeights& weights, LinearPlace place) {
  if (place.role == LinearRole::kLmHead) {
    weights_.sources.lm_head = &weights;
    lm_head_ = linears_;
    return LinearId{linears_++};
  }
  IntegerSources::Layer& layer = weights_.sources.layers[static_cast<size_t>(place.layer)];
  switch (place.role) {
    case LinearRole::kQ: layer.q_proj = &weights; break;
    case LinearRole::kK: layer.k_proj = &weights; break;
    case LinearRole::kV: layer.v_proj = &weights; break;
    case LinearRole::kDense: layer.dense = &weights; break;
    case LinearRole::kFc1: layer.fc1 = &weights; break;
    default: layer.fc2 = &weights; break;
  }
  return LinearId{linears_++};
}

Status TiledBackend::FinishLoading() {
  // Before the weights are looked at: an impossible design is told at once.
  ASSIGN_OR_RETURN(const TiledPlacement plan, PlanTiled(weights_.shape, weights_.PlanOptions(tiles_)));
  tiles_ = plan.tiles;
  RETURN_IF_ERROR(CheckTiledWeights(weights_));
  HbmPlacement placement;
  placement.shape = weights_.shape;
  placement.link = plan.link;
  placement.xclbin = plan.xclbin;
  // The card first: without one there is nothing to pack for.
  ASSIGN_OR_RETURN(std::shared_ptr<CardDevice> card, open_card_(placement));
  const auto pack = [&](const std::string& path) {
    return PackTiledModel(weights_, plan, path, &pool_, {.cancel = options_.cancel, .progress = {}});
  };
  ASSIGN_OR_RETURN(const PackedFile packed, OpenPacked({.design = kTiledDesignName,
                                                        .header = TiledPackedHeader(weights_, plan),
                                                        .path = options_.packed,
                                                        .pack = pack,
                                                        .notice = options_.notice},
                                                       &pool_));
  packed_path_ = packed.path();
  RETURN_IF_ERROR(StartSession(std::move(card), packed, plan));
  return packed.CheckMapping();
}

Status TiledBackend::StartSession(std::shared_ptr<CardDevice> card, const PackedFile& packed,
                                  const TiledPlacement& plan) {
  sizes_ = plan.sizes;
  const int64_t weights = plan.channel_weights / hls::kWordBytes;
  const int64_t bank_words = plan.channel_capacity / hls::kWordBytes;
  const int64_t words = std::min(bank_words, weights + kSequences * TiledKvWords(sizes_, shape().max_positions));
  room_ = std::make_shared<TiledKvRoom>(weights, words);
  weight_bytes_ = plan.weight_bytes();
  const auto copy = [&packed](size_t segment, int64_t bytes, std::span<int32_t> out) {
    std::memcpy(out.data(), packed.Segment(segment).data(), static_cast<size_t>(bytes));
  };
  const TiledSession::Images images = {
      .sizes = sizes_,
      .channel_words = words,
      .table_words = plan.table_bytes / hls::kWordBytes,
      .table_bank = ToString(TiledTableBank(*FindCard(plan.card))),
      .pack_channel = [&](int32_t tile,
                          std::span<int32_t> out) { copy(static_cast<size_t>(tile), plan.channel_weights, out); },
      .pack_tables = [&](std::span<int32_t> out) { copy(static_cast<size_t>(plan.tiles), plan.table_bytes, out); }};
  ASSIGN_OR_RETURN(session_, TiledSession::Start(std::move(card), images, pool_,
                                                 {.timeout = options_.timeout, .cancel = options_.cancel}));
  starts_[kSequencerUnit] = 1;
  for (int64_t tile = 0; tile < tiles_; ++tile) {
    starts_[TiledMemoryUnit(tile)] = 1;
  }
  return {};
}

Result<std::unique_ptr<KvStore>> TiledBackend::AllocateKv(int64_t positions) {
  const int64_t words = TiledKvWords(sizes_, positions);
  const std::optional<int64_t> base = room_->Take(words);
  if (!base.has_value()) {
    const int64_t per_group = TiledKvWords(sizes_, 1);
    return ResourceExhausted("a KV cache of ", positions, " positions: the channels of design tiled have room for ",
                             room_->words() / per_group * tiled::kKvGroup,
                             " positions of all sequences together; use a smaller context (-c) or fewer sequences");
  }
  return std::unique_ptr<KvStore>(
      std::make_unique<TiledKvStore>(room_, *base, positions, words * hls::kWordBytes * tiles_));
}

Status TiledBackend::CheckRow(int32_t token, int32_t pos, const KvStore* kv) const {
  if (token < 0 || token >= shape().vocab_size) {
    return InvalidArgument("token id ", token, " is outside the vocabulary of ", shape().vocab_size);
  }
  if (kv == nullptr || pos < 0 || pos >= kv->capacity() || pos >= shape().max_positions) {
    return ResourceExhausted("position ", pos, " is outside the context");
  }
  return {};
}

Status TiledBackend::BeginStep(std::span<const StepRow> rows) {
  rows_ = rows;
  step_done_ = false;
  logits_at_ = -1;
  logits_.clear();
  step_status_ = card_status_;
  for (const StepRow& row : rows) {
    RETURN_IF_ERROR(CheckRow(row.token, row.pos, row.kv));
  }
  return {};
}

// What a command did or failed with is the back end's too.
Result<TiledResult> TiledBackend::Noted(Result<TiledResult> result) {
  if (result.ok()) {
    saturated_ += result->saturated;
  } else if (result.status().code() != StatusCode::kCancelled) {
    card_status_ = result.status();
  }
  return result;
}

// Rows first..first + count - 1: one sequence, consecutive positions of one KV group.
Status TiledBackend::RunPass(size_t first, size_t count) {
  const auto& kv = static_cast<const TiledKvStore&>(*rows_[first].kv);
  TiledCommand command = {.tokens = {}, .position = rows_[first].pos, .kv_base = kv.base(), .kv_groups = kv.groups()};
  int32_t wanted = 0;
  for (size_t i = 0; i < count; ++i) {
    command.tokens.push_back(rows_[first + i].token);
    if (rows_[first + i].wants_logits && logits_at_ >= 0) {
      command.logit_mask |= 1 << i;
      ++wanted;
    }
  }
  RETURN_IF_ERROR(Noted(session_->Run(command)).status());
  const auto vocab = static_cast<size_t>(shape().vocab_size);
  for (int32_t row = 0; row < wanted; ++row) {
    logits_.resize(logits_.size() + vocab);
    session_->Logits(row, std::span(logits_).last(vocab));
  }
  return {};
}

Status TiledBackend::RunPasses() {
  for (size_t first = 0; first < rows_.size();) {
    size_t count = 1;
    while (first + count < rows_.size() && count < tiled::kLanes && rows_[first + count].kv == rows_[first].kv &&
           rows_[first + count].pos == rows_[first].pos + static_cast<int32_t>(count) &&
           rows_[first + count].pos / tiled::kKvGroup == rows_[first].pos / tiled::kKvGroup) {
      ++count;
    }
    RETURN_IF_ERROR(RunPass(first, count));
    first += count;
  }
  return {};
}

void TiledBackend::RunStep() {
  if (!step_done_ && step_status_.ok()) {
    step_status_ = RunPasses();
  }
  step_done_ = true;
}

std::span<const float> TiledBackend::Read(Activation activation) {
  if (static_cast<int32_t>(activation) == logits_at_) {
    RunStep();
    return logits_;
  }
  if (step_status_.ok()) {
    step_status_ = Unsupported(
        "design tiled: activations stay on the card, the logits alone can be read; trace the same bits with --device "
        "cpu --arith integer");
  }
  unread_.assign(rows_.size() * static_cast<size_t>(cols_[static_cast<size_t>(activation)]), 0.0F);
  return unread_;
}

// How the card chooses what the generation's rule and bans say, or nothing where its candidates may not decide that.
// Ids banned to the end of the vocabulary (Phi-2's last 905 have no text) are no candidates; the others take places of
// theirs.
std::optional<CardChoice> TiledBackend::ChoiceOf(const Generation& generation) const {
  CardChoice out = {.choice = {.banned = generation.banned, .rule = generation.rule, .key = generation.key},
                    .ids = static_cast<int32_t>(shape().vocab_size)};
  std::vector<int32_t>& banned = out.choice.banned;
  while (!banned.empty() && banned.back() == out.ids - 1) {
    banned.pop_back();
    --out.ids;
  }
  const auto left = static_cast<int64_t>(tiled::kCandidates) - static_cast<int64_t>(banned.size());
  const bool enough =
      generation.rule.temperature <= 0.0F ? left >= 1 : generation.rule.top_k > 0 && generation.rule.top_k <= left;
  return enough && out.ids > 0 ? std::optional(std::move(out)) : std::nullopt;
}

Status TiledBackend::Generate(const Generation& generation, const std::function<bool(int32_t)>& take) {
  RETURN_IF_ERROR(card_status_);
  const StepRow& first = generation.first;
  RETURN_IF_ERROR(CheckRow(first.token, first.pos, first.kv));
  const int64_t last = int64_t{first.pos} + generation.count - 1;
  const int64_t positions = std::min(first.kv->capacity(), shape().max_positions);
  if (generation.count < 1 || generation.count > tiled::kMaxGenerated || last >= positions) {
    return InvalidArgument("design tiled: ", generation.count, " tokens from position ", first.pos,
                           ": the context has ", positions, " positions, and one command chooses 1 to ",
                           int{tiled::kMaxGenerated});
  }
  const std::optional<CardChoice> choice = ChoiceOf(generation);
  if (!choice.has_value()) {
    return Unsupported("design tiled: a token of ", generation.rule.top_k, " candidates with ",
                       generation.banned.size(), " ids banned is not the card's to choose: it has the best ",
                       int{tiled::kCandidates});
  }
  const auto& store = static_cast<const TiledKvStore&>(*first.kv);
  const TiledCommand command = {.opcode = tiled::kGenerate,
                                .tokens = {first.token},
                                .position = first.pos,
                                .kv_base = store.base(),
                                .kv_groups = store.groups(),
                                .logit_kind = 2 * choice->ids + tiled::kBestLogits,
                                .count = static_cast<int32_t>(generation.count),
                                .end = generation.ends.empty() ? -1 : generation.ends.front()};
  Status status;
  const auto take_usable = [&](int32_t id) {
    if (id == tiled::kNoCandidate) {
      status = DataError("no token may be chosen: all of the best ", int{tiled::kCandidates}, " are banned");
      return false;
    }
    ++generated_;
    const bool end = std::find(generation.ends.begin(), generation.ends.end(), id) != generation.ends.end();
    return take(id) && !end;
  };
  RETURN_IF_ERROR(Noted(session_->Generate(command, choice->choice, take_usable)).status());
  return status;
}

}  // namespace

Result<std::unique_ptr<CardBackend>> CreateTiledBackend(const ModelShape& shape, const CardOptions& options,
                                                        const IntegerConstants& constants, OpenCard open_card,
                                                        int64_t tiles) {
  if (!options.host_ops.empty()) {
    return InvalidArgument("--host-ops ", ToString(options.host_ops),
                           ": design tiled runs the whole model on the card; leave it out, or use --design report");
  }
  ASSIGN_OR_RETURN(const CpuSetup setup, ResolveCpuOptions(options.cpu));
  return std::unique_ptr<CardBackend>(
      std::make_unique<TiledBackend>(shape, options, setup, constants, std::move(open_card), tiles));
}

}  // namespace phidias::fpga
