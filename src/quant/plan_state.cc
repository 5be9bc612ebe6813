#include "quant/plan_state.h"

#include <algorithm>
#include <cstdio>
#include <utility>
#include <vector>

#include "quant/byte_stream.h"
#include "quant/fingerprint.h"
#include "quant/state_file.h"

namespace phidias {
namespace {

constexpr StateKind kKind = {.magic = "phidias scales state 1\n",
                             .name = "a scales state",
                             .instead = "another output directory",
                             .again = "to have this layer's found again"};

void AddPatterns(const std::vector<std::string>& patterns, Fingerprint* all) {
  all->Add(static_cast<int64_t>(patterns.size()));
  for (const std::string& pattern : patterns) {
    all->Add(pattern);
  }
}

void AddReal(double value, Fingerprint* all) {
  all->Add(std::as_bytes(std::span(&value, 1)));
}

// Every field.
void AddScheme(const QuantScheme& scheme, Fingerprint* all) {
  all->Add(static_cast<int64_t>(scheme.weights));
  all->Add(scheme.weight_bits);
  all->Add(scheme.group);
  all->Add(static_cast<int64_t>(scheme.granularity));
  all->Add(static_cast<int64_t>(scheme.activations));
  AddReal(scheme.percentile, all);
  all->Add(static_cast<int64_t>(scheme.lm_head));
  all->Add(static_cast<int64_t>(scheme.smoothing));
  AddReal(scheme.alpha, all);
  AddPatterns(scheme.skip, all);
  AddPatterns(scheme.eight_bits, all);
  all->Add(int64_t{scheme.integer ? 1 : 0});
}

void PutAlpha(const std::optional<double>& alpha, ByteWriter* out) {
  out->Put<uint8_t>(alpha.has_value() ? 1 : 0);
  out->Put(alpha.value_or(0));
}

std::optional<double> GetAlpha(ByteReader* in) {
  const bool known = in->Get<uint8_t>() != 0;
  const auto alpha = in->Get<double>();
  return known ? std::optional(alpha) : std::nullopt;
}

void PutLinear(const LinearPlan& linear, ByteWriter* out) {
  out->PutVector(linear.source.column_factor);
  out->PutVector(linear.source.row_factor);
  out->Put<uint8_t>(linear.quantize ? 1 : 0);
  out->PutVector(linear.quant.scale);
  out->PutVector(linear.quant.zero_point);
  out->Put(linear.quant.group);
  out->PutVector(linear.quant.multiplier);
  out->Put(static_cast<uint8_t>(linear.input.kind));
  out->Put<uint8_t>(linear.input.symmetric ? 1 : 0);
  out->Put(linear.input.scale);
  out->Put(linear.input.zero_point);
  out->PutVector(linear.bias);
  out->Put<uint8_t>(linear.bias_changed ? 1 : 0);
}

bool NoneOr(size_t size, int64_t whole) {
  return size == 0 || size == static_cast<size_t>(whole);
}

// Whether it is of the weight's shape; kernels and writers take that for granted.
bool Fits(const LinearPlan& linear) {
  const int64_t rows = linear.source.matrix.rows;
  const int64_t cols = linear.source.matrix.cols;
  const WeightQuant& quant = linear.quant;
  const bool four = quant.group != 0;
  if (four && quant.group != 32 && quant.group != 64 && quant.group != 128) {
    return false;
  }
  const auto multipliers = static_cast<size_t>(four ? rows * quant.Groups(cols) : 0);
  return NoneOr(linear.source.column_factor.size(), cols) && NoneOr(linear.source.row_factor.size(), rows) &&
         quant.scale.size() == static_cast<size_t>(linear.quantize ? rows : 0) &&
         NoneOr(quant.zero_point.size(), rows) && quant.multiplier.size() == multipliers &&
         std::all_of(quant.multiplier.begin(), quant.multiplier.end(), [](uint8_t m) { return m >= 1 && m <= 63; }) &&
         linear.input.kind <= InputQuant::Kind::kDynamic;
}

bool GetLinear(ByteReader* in, LinearPlan* linear) {
  linear->source.column_factor = in->GetVector<float>();
  linear->source.row_factor = in->GetVector<float>();
  linear->quantize = in->Get<uint8_t>() != 0;
  linear->quant.scale = in->GetVector<float>();
  linear->quant.zero_point = in->GetVector<int32_t>();
  linear->quant.group = in->Get<int64_t>();
  linear->quant.multiplier = in->GetVector<uint8_t>();
  linear->input.kind = static_cast<InputQuant::Kind>(in->Get<uint8_t>());
  linear->input.symmetric = in->Get<uint8_t>() != 0;
  linear->input.scale = in->Get<float>();
  linear->input.zero_point = in->Get<int32_t>();
  auto bias = in->GetVector<float>();
  linear->bias_changed = in->Get<uint8_t>() != 0;
  const bool same_bias = bias.size() == linear->bias.size();
  linear->bias = std::move(bias);
  return in->ok() && same_bias && Fits(*linear);
}

bool GetNorm(ByteReader* in, LayerPlan* layer) {
  auto weight = in->GetVector<float>();
  auto bias = in->GetVector<float>();
  const bool same = weight.size() == layer->norm.weight.size() && bias.size() == layer->norm.bias.size();
  layer->norm.weight = std::move(weight);
  layer->norm.bias = std::move(bias);
  layer->norm_changed = in->Get<uint8_t>() != 0;
  layer->norm_alpha = GetAlpha(in);
  layer->dense_alpha = GetAlpha(in);
  return in->ok() && same;
}

}  // namespace

std::string PlanStateFile(const std::string& state_path, int64_t layer) {
  return StrCat(state_path, ".scales-", layer);
}

std::string PlanFingerprint(const Checkpoint& source, const CalibrationStats* stats, const QuantScheme& scheme) {
  Fingerprint all;
  all.Add(CheckpointFingerprint(source));
  AddScheme(scheme, &all);
  if (stats != nullptr) {
    ByteWriter bytes;
    stats->Write(&bytes);
    all.Add(bytes.bytes());
  }
  return all.Hex();
}

Status WritePlanState(const std::string& path, const std::string& fingerprint, const LayerPlan& layer) {
  ByteWriter out;
  out.PutString(fingerprint);
  out.PutVector(layer.norm.weight);
  out.PutVector(layer.norm.bias);
  out.Put<uint8_t>(layer.norm_changed ? 1 : 0);
  PutAlpha(layer.norm_alpha, &out);
  PutAlpha(layer.dense_alpha, &out);
  for (const LinearPlan* linear : layer.Linears()) {
    PutLinear(*linear, &out);
  }
  return WriteStateFile(path, kKind, out.bytes());
}

Result<bool> ReadPlanState(const std::string& path, const std::string& fingerprint, LayerPlan* layer) {
  ASSIGN_OR_RETURN(const std::optional<std::string> bytes, ReadStateFile(path, kKind));
  if (!bytes.has_value()) {
    return false;
  }
  ByteReader in(*bytes);
  if (in.GetString() != fingerprint) {
    return in.ok() ? Result<bool>(false) : DamagedState(path, kKind);
  }
  bool good = GetNorm(&in, layer);
  for (LinearPlan* linear : layer->Linears()) {
    good = good && GetLinear(&in, linear);
  }
  if (!good || !in.AtEnd()) {
    return DamagedState(path, kKind);
  }
  return true;
}

void RemovePlanState(const std::string& state_path, int64_t n_layers) {
  for (int64_t layer = 0; layer < n_layers; ++layer) {
    std::remove(PlanStateFile(state_path, layer).c_str());
  }
}

}  // namespace phidias
