#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

#include "backend/cpu/cpu_options.h"
#include "common/status.h"
#include "model/phi.h"

namespace phidias {

// All rows of a calibration between two layers of a model: the residual stream of every token. It is taken through the
// model a layer at a time, so that only one layer's weights and activations are in memory, and a layer may be run
// several times, with different weights, before the stream moves on.
class LayerStream {
 public:
  // The embeddings of `rows` (token ids of the vocabulary; rows within the context). `source` must outlive this.
  LayerStream(const Checkpoint& source, std::span<const std::vector<int32_t>> rows, const CpuOptions& cpu);

  // Runs the layer over all rows, whole rows of about 1,024 tokens at a time. `seen` gets its activations, named as
  // those of layer 0 (see TraceSink). `move`: its outputs become the stream; else that stays as it is.
  Status Run(const PhiLayerWeights& layer, bool move, const TraceSink& seen, const std::atomic<bool>* cancel);

  int64_t tokens() const { return tokens_; }

 private:
  Status RunRows(Phi& phi, size_t begin, size_t end, const TraceSink& sink, const std::atomic<bool>* cancel);

  const Checkpoint& source_;
  std::span<const std::vector<int32_t>> rows_;
  CpuOptions cpu_;
  std::vector<int64_t> first_;  // of each row: its first token's place in the stream; then the number of tokens
  int64_t tokens_ = 0;
  std::vector<float> stream_;  // [tokens, hidden]
};

}  // namespace phidias
