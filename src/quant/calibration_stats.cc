#include "quant/calibration_stats.h"

#include <algorithm>
#include <cmath>

namespace phidias {
namespace {

void MaxInto(const std::vector<float>& from, std::vector<float>* to) {
  for (size_t i = 0; i < to->size(); ++i) {
    (*to)[i] = std::max((*to)[i], from[i]);
  }
}

bool HasSizes(const ActivationStats& stats, int64_t cols) {
  const auto size = static_cast<size_t>(cols);
  return stats.channel_min.size() == size && stats.channel_max.size() == size;
}

bool HasSizes(const LayerStats& layer, const PhiConfig& config) {
  return HasSizes(layer.norm, config.hidden_size) && HasSizes(layer.dense, config.n_heads * config.head_dim) &&
         HasSizes(layer.fc2, config.intermediate_size) &&
         layer.q_absmax.size() == static_cast<size_t>(config.n_heads) &&
         layer.k_absmax.size() == static_cast<size_t>(config.n_kv_heads) &&
         layer.v_absmax.size() == static_cast<size_t>(config.kv_size());
}

void WriteActivation(const ActivationStats& stats, ByteWriter* out) {
  stats.histogram.Write(out);
  out->PutVector(stats.channel_min);
  out->PutVector(stats.channel_max);
}

Result<ActivationStats> ReadActivation(ByteReader* in) {
  ActivationStats stats;
  ASSIGN_OR_RETURN(stats.histogram, Histogram::Read(in));
  stats.channel_min = in->GetVector<float>();
  stats.channel_max = in->GetVector<float>();
  return stats;
}

Result<LayerStats> ReadLayer(ByteReader* in) {
  LayerStats layer;
  ASSIGN_OR_RETURN(layer.norm, ReadActivation(in));
  ASSIGN_OR_RETURN(layer.dense, ReadActivation(in));
  ASSIGN_OR_RETURN(layer.fc2, ReadActivation(in));
  ASSIGN_OR_RETURN(layer.fc1_out, Histogram::Read(in));
  layer.q_absmax = in->GetVector<float>();
  layer.k_absmax = in->GetVector<float>();
  layer.v_absmax = in->GetVector<float>();
  return layer;
}

int64_t SampleSize(const PhiConfig& config) {
  return config.n_layers * (config.hidden_size + config.n_heads * config.head_dim);
}

Status NotFinite(const std::string& what, const Histogram& histogram) {
  if (histogram.not_finite() == 0) {
    return {};
  }
  return DataError("calibration: ", histogram.not_finite(), " values of ", what,
                   " aren't finite; the model's weights or its arithmetic are broken there, so no scale can be found");
}

}  // namespace

ActivationStats::ActivationStats(int64_t cols)
    : channel_min(static_cast<size_t>(cols), 0.0F), channel_max(static_cast<size_t>(cols), 0.0F) {}

void ActivationStats::Add(int64_t cols, std::span<const float> values) {
  histogram.Add(values);
  float* low = channel_min.data();
  float* high = channel_max.data();
  for (size_t row = 0; row < values.size(); row += static_cast<size_t>(cols)) {
    const float* x = values.data() + row;
    for (int64_t i = 0; i < cols; ++i) {
      low[i] = x[i] < low[i] ? x[i] : low[i];
      high[i] = x[i] > high[i] ? x[i] : high[i];
    }
  }
}

void ActivationStats::Merge(const ActivationStats& other) {
  histogram.Merge(other.histogram);
  MaxInto(other.channel_max, &channel_max);
  for (size_t i = 0; i < channel_min.size(); ++i) {
    channel_min[i] = std::min(channel_min[i], other.channel_min[i]);
  }
}

CalibrationStats CalibrationStats::ForModel(const PhiConfig& config, int64_t sample_limit) {
  CalibrationStats stats;
  stats.sample_limit = sample_limit;
  stats.final_norm = ActivationStats(config.hidden_size);
  for (int64_t i = 0; i < config.n_layers; ++i) {
    LayerStats layer;
    layer.norm = ActivationStats(config.hidden_size);
    layer.dense = ActivationStats(config.n_heads * config.head_dim);
    layer.fc2 = ActivationStats(config.intermediate_size);
    layer.q_absmax.resize(static_cast<size_t>(config.n_heads));
    layer.k_absmax.resize(static_cast<size_t>(config.n_kv_heads));
    layer.v_absmax.resize(static_cast<size_t>(config.kv_size()));
    stats.layers.push_back(std::move(layer));
  }
  return stats;
}

void CalibrationStats::Merge(const CalibrationStats& other) {
  for (size_t i = 0; i < layers.size(); ++i) {
    LayerStats& to = layers[i];
    const LayerStats& from = other.layers[i];
    to.norm.Merge(from.norm);
    to.dense.Merge(from.dense);
    to.fc2.Merge(from.fc2);
    to.fc1_out.Merge(from.fc1_out);
    MaxInto(from.q_absmax, &to.q_absmax);
    MaxInto(from.k_absmax, &to.k_absmax);
    MaxInto(from.v_absmax, &to.v_absmax);
  }
  final_norm.Merge(other.final_norm);
  residual_absmax = std::max(residual_absmax, other.residual_absmax);
  rows += other.rows;
  tokens += other.tokens;
  samples.insert(other.samples.begin(), other.samples.end());
  while (static_cast<int64_t>(samples.size()) > sample_limit) {
    samples.erase(std::prev(samples.end()));
  }
}

Status CalibrationStats::CheckFinite() const {
  for (size_t i = 0; i < layers.size(); ++i) {
    const std::string prefix = "layers." + std::to_string(i) + ".";
    RETURN_IF_ERROR(NotFinite(prefix + "input_layernorm.out", layers[i].norm.histogram));
    RETURN_IF_ERROR(NotFinite(prefix + "self_attn.dense.in", layers[i].dense.histogram));
    RETURN_IF_ERROR(NotFinite(prefix + "mlp.fc1.out", layers[i].fc1_out));
    RETURN_IF_ERROR(NotFinite(prefix + "mlp.fc2.in", layers[i].fc2.histogram));
  }
  return NotFinite("final_layernorm.out", final_norm.histogram);
}

std::vector<float> CalibrationStats::Samples(int64_t offset, int64_t cols) const {
  std::vector<float> out;
  out.reserve(samples.size() * static_cast<size_t>(cols));
  for (const auto& [key, values] : samples) {
    out.insert(out.end(), values.begin() + offset, values.begin() + offset + cols);
  }
  return out;
}

std::vector<float> CalibrationStats::NormSamples(int64_t layer) const {
  const auto hidden = static_cast<int64_t>(layers[0].norm.channel_max.size());
  const auto heads = static_cast<int64_t>(layers[0].dense.channel_max.size());
  return Samples(layer * (hidden + heads), hidden);
}

std::vector<float> CalibrationStats::DenseSamples(int64_t layer) const {
  const auto hidden = static_cast<int64_t>(layers[0].norm.channel_max.size());
  const auto heads = static_cast<int64_t>(layers[0].dense.channel_max.size());
  return Samples(layer * (hidden + heads) + hidden, heads);
}

void CalibrationStats::Write(ByteWriter* out) const {
  out->Put(rows);
  out->Put(tokens);
  out->Put(residual_absmax);
  for (const LayerStats& layer : layers) {
    WriteActivation(layer.norm, out);
    WriteActivation(layer.dense, out);
    WriteActivation(layer.fc2, out);
    layer.fc1_out.Write(out);
    out->PutVector(layer.q_absmax);
    out->PutVector(layer.k_absmax);
    out->PutVector(layer.v_absmax);
  }
  WriteActivation(final_norm, out);
  out->Put<uint64_t>(samples.size());
  for (const auto& [key, values] : samples) {
    out->Put(key.priority);
    out->Put(key.row);
    out->Put(key.pos);
    out->PutVector(values);
  }
}

Result<CalibrationStats> CalibrationStats::Read(ByteReader* in, const PhiConfig& config, int64_t sample_limit) {
  const Status damaged = DataError("the calibration's statistics are damaged, or of another model");
  CalibrationStats stats;
  stats.sample_limit = sample_limit;
  stats.rows = in->Get<int64_t>();
  stats.tokens = in->Get<int64_t>();
  stats.residual_absmax = in->Get<float>();
  for (int64_t i = 0; i < config.n_layers; ++i) {
    ASSIGN_OR_RETURN(LayerStats layer, ReadLayer(in));
    if (!HasSizes(layer, config)) {
      return damaged;
    }
    stats.layers.push_back(std::move(layer));
  }
  ASSIGN_OR_RETURN(stats.final_norm, ReadActivation(in));
  const auto samples = in->Get<uint64_t>();
  for (uint64_t i = 0; i < samples && in->ok(); ++i) {
    SampleKey key;
    key.priority = in->Get<uint64_t>();
    key.row = in->Get<int64_t>();
    key.pos = in->Get<int32_t>();
    std::vector<float>& values = stats.samples[key];
    values = in->GetVector<float>();
    if (static_cast<int64_t>(values.size()) != SampleSize(config)) {
      return damaged;
    }
  }
  if (!in->ok() || !HasSizes(stats.final_norm, config.hidden_size) || stats.rows < 0 || stats.tokens < 0 ||
      static_cast<int64_t>(stats.samples.size()) > sample_limit) {
    return damaged;
  }
  return stats;
}

}  // namespace phidias
