#pragma once

// Gives a model activation outliers as large real models have them, without changing its function: chosen LayerNorm
// channels are scaled up and the columns of q, k, v and fc1 that read them down by the same factor; likewise rows of v
// and columns of dense. The same few LayerNorm channels in every layer, factors 20 to 60; 4 value channels per layer,
// factors 8 to 20 (under grouped heads one factor for every head that reads the channel). What static per-tensor
// activations cost on such a model, and what smoothing brings back, is the quality test that small models are too tame
// for.

#include <cstring>
#include <memory>
#include <vector>

#include "model/checkpoint.h"
#include "numerics/random.h"
#include "ref/decode_row.h"

namespace phidias::testing_support {

struct OutlierOptions {
  uint64_t seed = 7;
  int norm_channels = 6;
  int value_channels = 4;
};

class OutlierInjector {
 public:
  OutlierInjector(const Checkpoint& source, const OutlierOptions& options) : options_(options), out_(source) {}

  Checkpoint Run() {
    const PhiConfig& config = out_.config;
    const std::vector<int64_t> channels = Choose(0, config.hidden_size, options_.norm_channels);
    for (size_t i = 0; i < out_.weights.layers.size(); ++i) {
      PhiLayerWeights& layer = out_.weights.layers[i];
      for (LinearWeights* linear : {&layer.q_proj, &layer.k_proj, &layer.v_proj, &layer.dense, &layer.fc1}) {
        TakeOver(&linear->weight);
      }
      const uint64_t stream = 2 * i + 1;
      for (size_t c = 0; c < channels.size(); ++c) {
        ScaleNormChannel(channels[c], Uniform(stream, c, 20, 60), &layer);
      }
      const std::vector<int64_t> values = Choose(stream + 1, config.kv_size(), options_.value_channels);
      for (size_t c = 0; c < values.size(); ++c) {
        ScaleValueChannel(values[c], Uniform(stream, channels.size() + c, 8, 20), &layer);
      }
    }
    return std::move(out_);
  }

 private:
  // `count` different numbers below `bound`, the first of a shuffle.
  std::vector<int64_t> Choose(uint64_t stream, int64_t bound, int count) const {
    std::vector<int64_t> all(static_cast<size_t>(bound));
    for (size_t i = 0; i < all.size(); ++i) {
      all[i] = static_cast<int64_t>(i);
    }
    for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
      const uint64_t bits = numerics::RandomBits(options_.seed, stream, i);
      std::swap(all[i], all[i + numerics::ScaleBits(bits, all.size() - i)]);
    }
    all.resize(static_cast<size_t>(count));
    return all;
  }

  float Uniform(uint64_t stream, uint64_t position, float low, float high) const {
    const uint64_t bits = numerics::RandomBits(options_.seed, stream + (uint64_t{1} << 32), position);
    return low + (high - low) * static_cast<float>(bits >> 40) * 0x1p-24F;
  }

  // A float32 copy that may be changed.
  void TakeOver(WeightMatrix* matrix) {
    auto buffer = std::make_shared<std::vector<std::byte>>(static_cast<size_t>(matrix->rows * matrix->cols * 4));
    std::vector<float> row(static_cast<size_t>(matrix->cols));
    for (int64_t n = 0; n < matrix->rows; ++n) {
      ref::DecodeRow(matrix->dtype, matrix->Row(n), matrix->cols, row.data());
      std::memcpy(buffer->data() + n * matrix->cols * 4, row.data(), row.size() * 4);
    }
    *matrix = {DType::kF32, buffer->data(), matrix->rows, matrix->cols};
    out_.store.owned.push_back(std::move(buffer));
  }

  // Of a matrix that was taken over.
  static float* At(const WeightMatrix& matrix, int64_t row, int64_t col) {
    return const_cast<float*>(reinterpret_cast<const float*>(matrix.data)) + row * matrix.cols + col;
  }
  static void ScaleColumn(const WeightMatrix& matrix, int64_t col, float factor) {
    for (int64_t n = 0; n < matrix.rows; ++n) {
      *At(matrix, n, col) *= factor;
    }
  }

  static void ScaleNormChannel(int64_t channel, float factor, PhiLayerWeights* layer) {
    layer->input_layernorm.weight[static_cast<size_t>(channel)] *= factor;
    layer->input_layernorm.bias[static_cast<size_t>(channel)] *= factor;
    for (const LinearWeights* linear : {&layer->q_proj, &layer->k_proj, &layer->v_proj, &layer->fc1}) {
      ScaleColumn(linear->weight, channel, 1.0F / factor);
    }
  }

  void ScaleValueChannel(int64_t channel, float factor, PhiLayerWeights* layer) const {
    const PhiConfig& config = out_.config;
    for (int64_t k = 0; k < layer->v_proj.weight.cols; ++k) {
      *At(layer->v_proj.weight, channel, k) *= factor;
    }
    layer->v_proj.bias[static_cast<size_t>(channel)] *= factor;
    const int64_t group = config.n_heads / config.n_kv_heads;
    const int64_t kv_head = channel / config.head_dim;
    for (int64_t h = kv_head * group; h < (kv_head + 1) * group; ++h) {
      ScaleColumn(layer->dense.weight, h * config.head_dim + channel % config.head_dim, 1.0F / factor);
    }
  }

  OutlierOptions options_;
  Checkpoint out_;
};

// The model of `source` (float weights, biases on every layer) with outliers, in memory.
inline Checkpoint InjectOutliers(const Checkpoint& source, const OutlierOptions& options = {}) {
  return OutlierInjector(source, options).Run();
}

}  // namespace phidias::testing_support
