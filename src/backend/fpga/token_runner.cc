#include "backend/fpga/token_runner.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "hls/layout.h"
#include "numerics/elementary.h"

namespace phidias::fpga {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kSlice{50};  // between looks at a request to stop

LinearRole RoleOf(CardOp op) {
  return static_cast<LinearRole>(op);
}

}  // namespace

TokenRunner::~TokenRunner() {
  for (const Value& value : activations_) {
    if (value.has_buffer) {
      model_.card().Free(value.buffer);
    }
  }
}

int32_t TokenRunner::AddActivation(std::string_view name, int64_t cols) {
  Value& value = activations_.emplace_back();
  value.name = name;
  value.cols = cols;
  return static_cast<int32_t>(activations_.size() - 1);
}

void TokenRunner::BeginStep(int64_t rows, int64_t logit_rows) {
  rows_ = rows;
  logit_rows_ = logit_rows;
  for (Value& value : activations_) {
    value.gathered = false;
    value.on_host = false;
    value.on_card = false;
  }
}

int64_t TokenRunner::rows_of(int32_t activation) const {
  return activations_[static_cast<size_t>(activation)].gathered ? logit_rows_ : rows_;
}

float* TokenRunner::WriteRow(int32_t activation, int64_t row) {
  Value& value = ValueOf(activation);
  value.host.resize(std::max(value.host.size(), static_cast<size_t>(rows_of(activation) * value.cols)));
  value.on_host = true;
  value.on_card = false;
  return value.host.data() + row * value.cols;
}

// The current token's row, in the host's memory.
float* TokenRunner::HostRow(int32_t activation) {
  Value& value = ValueOf(activation);
  value.host.resize(std::max(value.host.size(), static_cast<size_t>(rows_of(activation) * value.cols)));
  return value.host.data() + (value.gathered ? logit_row_ : row_) * value.cols;
}

std::span<const float> TokenRunner::Values(int32_t activation) const {
  const Value& value = activations_[static_cast<size_t>(activation)];
  const auto size = static_cast<size_t>(rows_of(activation) * value.cols);
  return std::span(value.host).first(std::min(size, value.host.size()));
}

// The activation's buffer, made when a port first needs it, in the bank that the port is wired to.
Status TokenRunner::Buffer(int32_t activation, const ScheduleNode& node, const char* argument, BufferId* buffer) {
  Value& value = ValueOf(activation);
  const std::string bank = model_.PortBank(node.unit, argument);
  if (!value.has_buffer) {
    ASSIGN_OR_RETURN(value.buffer, model_.card().Allocate(bank, hls::VectorBytes(value.cols),
                                                          "activation " + value.name, /*card_only=*/false));
    value.has_buffer = true;
    value.bank = bank;
  }
  if (value.bank != bank) {
    return Status(StatusCode::kInternal, StrCat("activation ", value.name, " lies in ", value.bank, ", and ", node.unit,
                                                ".", argument, " is wired to ", bank));
  }
  *buffer = value.buffer;
  return {};
}

Status TokenRunner::BindActivation(RunId run, const ScheduleNode& node, const char* argument, int32_t activation) {
  BufferId buffer{};
  RETURN_IF_ERROR(Buffer(activation, node, argument, &buffer));
  return model_.card().SetArgument(run, argument, buffer);
}

Status TokenRunner::BindLinear(const ScheduleNode& node, RunId run) {
  CardDevice& card = model_.card();
  const LinearRole role = RoleOf(node.op);
  const LinearWeights& linear = weights_.Linear(role, node.layer);
  for (int slice = 0; slice < model_.placement().design->linear.banks; ++slice) {
    RETURN_IF_ERROR(
        card.SetArgument(run, StrCat("w", slice), model_.Item(ItemKind::kLinearSlice, role, node.layer, slice)));
  }
  RETURN_IF_ERROR(card.SetArgument(run, "constants", model_.Item(ItemKind::kLinearConstants, role, node.layer, 0)));
  RETURN_IF_ERROR(BindActivation(run, node, "x", node.reads[0]));
  RETURN_IF_ERROR(BindActivation(run, node, "y", node.writes));
  RETURN_IF_ERROR(card.SetArgument(run, "n", static_cast<int32_t>(linear.weight.rows)));
  RETURN_IF_ERROR(card.SetArgument(run, "k", static_cast<int32_t>(linear.weight.cols)));
  RETURN_IF_ERROR(card.SetArgument(run, "inv_scale", 1.0F / linear.input.scale));
  RETURN_IF_ERROR(card.SetArgument(run, "scale", linear.input.scale));
  return card.SetArgument(run, "zero_point", linear.input.zero_point);
}

Status TokenRunner::BindLmHead(const ScheduleNode& node, RunId run) {
  CardDevice& card = model_.card();
  const WeightMatrix& weight = weights_.lm_head->weight;
  for (int slice = 0; slice < model_.placement().design->lm_head_banks; ++slice) {
    RETURN_IF_ERROR(
        card.SetArgument(run, StrCat("w", slice), model_.Item(ItemKind::kLmHeadSlice, LinearRole::kLmHead, 0, slice)));
  }
  RETURN_IF_ERROR(card.SetArgument(run, "bias", model_.Item(ItemKind::kLmHeadBias, LinearRole::kLmHead, 0, 0)));
  RETURN_IF_ERROR(BindActivation(run, node, "x", node.reads[0]));
  RETURN_IF_ERROR(BindActivation(run, node, "logits", node.writes));
  RETURN_IF_ERROR(card.SetArgument(run, "n", static_cast<int32_t>(weight.rows)));
  return card.SetArgument(run, "k", static_cast<int32_t>(weight.cols));
}

Status TokenRunner::BindAttention(const ScheduleNode& node, RunId run) {
  CardDevice& card = model_.card();
  const ModelShape& shape = weights_.shape;
  RETURN_IF_ERROR(BindActivation(run, node, "q", node.reads[0]));
  RETURN_IF_ERROR(BindActivation(run, node, "k", node.reads[1]));
  RETURN_IF_ERROR(BindActivation(run, node, "v", node.reads[2]));
  RETURN_IF_ERROR(BindActivation(run, node, "out", node.writes));
  RETURN_IF_ERROR(card.SetArgument(run, "rotary", model_.Item(ItemKind::kRotaryTable, LinearRole::kLmHead, 0, 0)));
  RETURN_IF_ERROR(card.SetArgument(run, "n_heads", static_cast<int32_t>(shape.n_heads)));
  RETURN_IF_ERROR(card.SetArgument(run, "n_kv_heads", static_cast<int32_t>(shape.n_kv_heads)));
  RETURN_IF_ERROR(card.SetArgument(run, "head_dim", static_cast<int32_t>(shape.head_dim)));
  RETURN_IF_ERROR(card.SetArgument(run, "rotary_dim", static_cast<int32_t>(shape.rotary_dim)));
  return card.SetArgument(run, "scale", 1.0F / numerics::Sqrt(static_cast<float>(shape.head_dim)));
}

// Every argument that stays the same from token to token.
Status TokenRunner::Bind(const ScheduleNode& node, RunId run) {
  CardDevice& card = model_.card();
  switch (node.op) {
    case CardOp::kQ:
    case CardOp::kK:
    case CardOp::kV:
    case CardOp::kDense:
    case CardOp::kFc1:
    case CardOp::kFc2: return BindLinear(node, run);
    case CardOp::kLmHead: return BindLmHead(node, run);
    case CardOp::kAttention: return BindAttention(node, run);
    case CardOp::kLayerNorm:
      RETURN_IF_ERROR(card.SetArgument(run, "constants",
                                       model_.Item(ItemKind::kNormConstants, LinearRole::kLmHead, node.layer, 0)));
      RETURN_IF_ERROR(card.SetArgument(run, "eps", weights_.shape.layer_norm_eps));
      break;
    case CardOp::kResidual:
      RETURN_IF_ERROR(BindActivation(run, node, "att", node.reads[0]));
      RETURN_IF_ERROR(BindActivation(run, node, "mlp", node.reads[1]));
      break;
    case CardOp::kGelu: break;
  }
  RETURN_IF_ERROR(BindActivation(run, node, "x", node.op == CardOp::kResidual ? node.reads[2] : node.reads[0]));
  RETURN_IF_ERROR(BindActivation(run, node, "y", node.writes));
  return card.SetArgument(run, "n", static_cast<int32_t>(ValueOf(node.writes).cols));
}

// The node's run, made and bound the first time.
Result<TokenRunner::BoundRun*> TokenRunner::RunOf(const ScheduleNode& node) {
  const RunKey key = {node.op, node.layer, node.reads, node.writes};
  if (const auto found = run_of_.find(key); found != run_of_.end()) {
    return &found->second;
  }
  ASSIGN_OR_RETURN(const RunId id, model_.card().NewRun(node.unit, NodeText(node)));
  RETURN_IF_ERROR(Bind(node, id));
  return &run_of_.emplace(key, BoundRun{id, 0}).first->second;
}

// The arguments that change from token to token: attention's.
Status TokenRunner::SetToken(const ScheduleNode& node, BoundRun* run) {
  if (node.op != CardOp::kAttention) {
    return {};
  }
  CardDevice& card = model_.card();
  const auto& kv = static_cast<const CardKvStore&>(*token_->kv);
  if (run->kv != kv.serial()) {
    RETURN_IF_ERROR(card.SetArgument(run->id, "k_cache", kv.OnCardLayer(node.layer).keys));
    RETURN_IF_ERROR(card.SetArgument(run->id, "v_cache", kv.OnCardLayer(node.layer).values));
    RETURN_IF_ERROR(card.SetArgument(run->id, "capacity", static_cast<int32_t>(kv.capacity())));
    run->kv = kv.serial();
  }
  return card.SetArgument(run->id, "pos", token_->pos);
}

Status TokenRunner::PutOnCard(int32_t activation) {
  Value& value = ValueOf(activation);
  if (value.on_card) {
    return {};
  }
  const std::span<std::byte> host = model_.card().Host(value.buffer);
  const auto bytes = static_cast<size_t>(value.cols) * sizeof(float);
  std::memcpy(host.data(), HostRow(activation), bytes);
  std::memset(host.data() + bytes, 0, host.size() - bytes);
  RETURN_IF_ERROR(model_.card().ToCard(value.buffer));
  value.on_card = true;
  return {};
}

Status TokenRunner::PutOnHost(int32_t activation) {
  Value& value = ValueOf(activation);
  if (value.on_host || !value.on_card) {
    return {};
  }
  RETURN_IF_ERROR(model_.card().FromCard(value.buffer));
  std::memcpy(HostRow(activation), model_.card().Host(value.buffer).data(),
              static_cast<size_t>(value.cols) * sizeof(float));
  value.on_host = true;
  return {};
}

Status TokenRunner::StartNode(int32_t index, const ScheduleNode& node) {
  ASSIGN_OR_RETURN(BoundRun* const run, RunOf(node));
  for (const int32_t activation : node.reads) {
    if (activation != kNoActivation) {
      RETURN_IF_ERROR(PutOnCard(activation));
    }
  }
  RETURN_IF_ERROR(SetToken(node, run));
  Value& written = ValueOf(node.writes);
  written.on_host = false;
  written.on_card = true;  // for the nodes after this one
  RETURN_IF_ERROR(model_.card().Start(run->id));
  in_flight_.emplace(run->id, index);
  ++run_counts_[std::string(node.unit)];
  return {};
}

Status TokenRunner::RunOnHost(const ScheduleNode& node) {
  std::array<const float*, 3> in{};
  for (size_t i = 0; i < in.size(); ++i) {
    if (node.reads[i] != kNoActivation) {
      RETURN_IF_ERROR(PutOnHost(node.reads[i]));
      in[i] = HostRow(node.reads[i]);
    }
  }
  float* const out = HostRow(node.writes);
  const int64_t cols = ValueOf(node.writes).cols;
  switch (node.op) {
    case CardOp::kLayerNorm: host_.LayerNorm(weights_.Norm(node.layer), in[0], out); break;
    case CardOp::kGelu: host_.Gelu(in[0], cols, out); break;
    case CardOp::kResidual: host_.AddResidual(in[0], in[1], in[2], cols, out); break;
    case CardOp::kAttention: {
      auto& kv = static_cast<CardKvStore&>(*token_->kv);
      host_.Attention(in[0], in[1], in[2], token_->pos, kv.HostKeys(node.layer), kv.HostValues(node.layer), out);
      break;
    }
    default: host_.Linear(weights_.Linear(RoleOf(node.op), node.layer), in[0], out); break;
  }
  Value& written = ValueOf(node.writes);
  written.on_host = true;
  written.on_card = false;
  return {};
}

Status TokenRunner::TimeOut() {
  Status status(
      StatusCode::kIoError,
      StrCat("the card: nothing has ended for ", static_cast<double>(options_.timeout.count()) / 1000.0,
             " s; waiting for ", model_.card().RunningText(),
             "; the kernel hangs or the time is too short (--card-timeout): reset the card (xbutil reset), or "
             "run with --device cpu or --fallback cpu"));
  model_.card().Abandon();
  return status;
}

// Lets the runs that were started come to their end.
Status TokenRunner::Drain() {
  while (!in_flight_.empty()) {
    const Result<RunId> ended = model_.card().WaitAny(options_.timeout);
    if (!ended.ok()) {
      return ended.status().code() == StatusCode::kCancelled ? TimeOut() : ended.status();
    }
    in_flight_.erase(*ended);
  }
  return {};
}

// Waits until a run has ended and tells `progress`.
Status TokenRunner::Wait(ScheduleRun* progress) {
  const auto start = std::chrono::steady_clock::now();
  while (true) {
    if (options_.cancel != nullptr && options_.cancel->load(std::memory_order_relaxed)) {
      RETURN_IF_ERROR(Drain());
      return {StatusCode::kCancelled, "stopped on request"};
    }
    const Result<RunId> ended = model_.card().WaitAny(std::min(kSlice, options_.timeout));
    if (ended.ok()) {
      const auto found = in_flight_.find(*ended);
      progress->Finish(found->second);
      in_flight_.erase(found);
      return {};
    }
    if (ended.status().code() != StatusCode::kCancelled) {
      return ended.status();
    }
    if (std::chrono::steady_clock::now() - start >= options_.timeout) {
      return TimeOut();
    }
  }
}

Status TokenRunner::Execute(const Schedule& schedule) {
  ScheduleRun progress(schedule, logit_row_ >= 0);
  const bool one_by_one = schedule.order() == ScheduleOrder::kSequential;
  while (!progress.done()) {
    const int32_t index = one_by_one && !in_flight_.empty() ? -1 : progress.Next();
    if (index < 0) {
      RETURN_IF_ERROR(Wait(&progress));
      continue;
    }
    const ScheduleNode& node = schedule.nodes()[static_cast<size_t>(index)];
    if (node.on_card()) {
      RETURN_IF_ERROR(StartNode(index, node));
    } else {
      RETURN_IF_ERROR(RunOnHost(node));
      progress.Finish(index);
    }
  }
  return {};
}

Status TokenRunner::Run(const Schedule& schedule, const StepRow& token, int64_t row, int64_t logit_row) {
  RETURN_IF_ERROR(broken_);
  token_ = &token;
  row_ = row;
  logit_row_ = logit_row;
  if (rows_ > 1) {
    // Another token's values are on the card; this one's, of earlier schedules of the step, are on the host.
    for (Value& value : activations_) {
      value.on_card = false;
      value.on_host = !value.host.empty();
    }
  }
  Status status = Execute(schedule);
  if (!status.ok()) {
    if (status.code() != StatusCode::kCancelled) {
      model_.card().Abandon();
      broken_ = status;
    }
    in_flight_.clear();
    return status;
  }
  return rows_ > 1 ? Fetch() : Status();
}

Status TokenRunner::Fetch() {
  for (int32_t activation = 0; activation < std::ssize(activations_); ++activation) {
    RETURN_IF_ERROR(Fetch(activation));
  }
  return {};
}

Status TokenRunner::Fetch(int32_t activation) {
  RETURN_IF_ERROR(broken_);
  if (ValueOf(activation).gathered && logit_row_ < 0) {
    return {};
  }
  return PutOnHost(activation);
}

}  // namespace phidias::fpga
