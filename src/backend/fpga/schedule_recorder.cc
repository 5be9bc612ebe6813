#include "backend/fpga/schedule_recorder.h"

#include <algorithm>
#include <utility>

#include "backend/fpga/placement.h"

namespace phidias::fpga {

void ScheduleRecorder::BeginStep() {
  Clear();
  residuals_ = 0;
  gathered_ = kNoActivation;
  gathered_from_ = kNoActivation;
  is_gathered_.clear();
}

const ScheduleNode& ScheduleRecorder::LayerNorm(int64_t layer, Activation in, Activation out) {
  return Record({.op = CardOp::kLayerNorm, .layer = layer, .unit = "layernorm"}, {in}, out);
}

const ScheduleNode& ScheduleRecorder::Linear(const LinearPlace& place, Activation in, Activation out) {
  return Record({.op = OpOf(place.role), .layer = place.layer, .unit = UnitOf(place.role)}, {in}, out);
}

const ScheduleNode& ScheduleRecorder::Attention(int64_t layer, Activation q, Activation k, Activation v,
                                                Activation out) {
  return Record({.op = CardOp::kAttention, .layer = layer, .unit = "attention"}, {q, k, v}, out);
}

const ScheduleNode& ScheduleRecorder::Gelu(int64_t layer, Activation in, Activation out) {
  return Record({.op = CardOp::kGelu, .layer = layer, .unit = "gelu"}, {in}, out);
}

const ScheduleNode& ScheduleRecorder::AddResidual(Activation attention, Activation mlp, Activation x) {
  return Record({.op = CardOp::kResidual, .layer = residuals_++, .unit = "residual"}, {attention, mlp, x}, x);
}

void ScheduleRecorder::GatherLogitRows(Activation in, Activation out) {
  gathered_from_ = Resolve(in);
  gathered_ = static_cast<int32_t>(out);
}

int32_t ScheduleRecorder::Resolve(Activation activation) const {
  const auto id = static_cast<int32_t>(activation);
  return id == gathered_ ? gathered_from_ : id;
}

const ScheduleNode& ScheduleRecorder::Record(ScheduleNode node, std::initializer_list<Activation> in, Activation out) {
  const auto index = [](Activation activation) { return static_cast<size_t>(activation); };
  is_gathered_.resize(std::max(is_gathered_.size(), index(out) + 1));
  size_t i = 0;
  for (const Activation activation : in) {
    node.logit_rows |=
        IsGathered(activation) || (index(activation) < is_gathered_.size() && is_gathered_[index(activation)]);
    node.reads[i++] = Resolve(activation);
  }
  node.writes = static_cast<int32_t>(out);
  if (node.writes == gathered_) {
    gathered_ = kNoActivation;
  }
  if (node.logit_rows) {
    is_gathered_[index(out)] = true;
  }
  if (host_ops_.Has(node.op)) {
    node.unit = "";
  }
  schedule_.Add(std::move(node));
  return schedule_.nodes().back();
}

Result<LinearId> RecordingBackend::LoadLinear(const LinearWeights& /*weights*/, LinearPlace place) {
  linears_.push_back(place);
  return LinearId{static_cast<int32_t>(linears_.size() - 1)};
}

Result<LayerNormId> RecordingBackend::LoadLayerNorm(const LayerNormWeights& /*weights*/, int64_t layer) {
  norms_.push_back(layer);
  return LayerNormId{static_cast<int32_t>(norms_.size() - 1)};
}

Activation RecordingBackend::Allocate(std::string_view /*name*/, int64_t cols) {
  cols_.push_back(cols);
  return Activation{static_cast<int32_t>(cols_.size() - 1)};
}

Result<std::unique_ptr<KvStore>> RecordingBackend::AllocateKv(int64_t /*positions*/) {
  return Unsupported("a back end that only records has no KV cache");
}

}  // namespace phidias::fpga
