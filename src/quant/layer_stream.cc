#include "quant/layer_stream.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "backend/cpu/cpu_backend.h"
#include "ref/decode_row.h"

namespace phidias {
namespace {

constexpr int64_t kStepTokens = 1024;

}  // namespace

LayerStream::LayerStream(const Checkpoint& source, std::span<const std::vector<int32_t>> rows, const CpuOptions& cpu)
    : source_(source), rows_(rows), cpu_(cpu) {
  cpu_.weights = WeightPlace::kInFile;  // each layer's weights are read for one pass: copies wouldn't pay
  const WeightMatrix& embedding = source.weights.embed_tokens;
  for (const std::vector<int32_t>& row : rows) {
    first_.push_back(tokens_);
    tokens_ += static_cast<int64_t>(row.size());
  }
  first_.push_back(tokens_);
  stream_.resize(static_cast<size_t>(tokens_ * embedding.cols));
  float* to = stream_.data();
  for (const std::vector<int32_t>& row : rows) {
    for (const int32_t token : row) {
      ref::DecodeRow(embedding.dtype, embedding.Row(token), embedding.cols, to);
      to += embedding.cols;
    }
  }
}

// The layer becomes a model of its own, whose vocabulary is the stream: token i is embedded as the stream's row i.
Status LayerStream::Run(const PhiLayerWeights& layer, bool move, const TraceSink& seen,
                        const std::atomic<bool>* cancel) {
  const int64_t hidden = source_.config.hidden_size;
  const auto* stream = reinterpret_cast<const std::byte*>(stream_.data());
  auto alone = std::make_shared<Checkpoint>();
  alone->path = source_.path;
  alone->config = source_.config;
  alone->config.n_layers = 1;
  alone->config.vocab_size = tokens_;
  alone->weights.layers = {layer};
  alone->weights.embed_tokens = {DType::kF32, stream, tokens_, hidden};
  alone->weights.final_layernorm = source_.weights.final_layernorm;
  alone->weights.lm_head.weight = {DType::kF32, stream, 1, hidden};  // never run: no logits are asked for
  ASSIGN_OR_RETURN(std::unique_ptr<Backend> backend, CreateCpuBackend(ShapeOf(alone->config), cpu_));
  ASSIGN_OR_RETURN(const std::unique_ptr<Phi> phi, Phi::Create(std::move(alone), std::move(backend)));
  for (size_t begin = 0; begin < rows_.size();) {
    size_t end = begin + 1;
    while (end < rows_.size() && first_[end + 1] - first_[begin] <= kStepTokens) {
      ++end;
    }
    float* to = stream_.data() + first_[begin] * hidden;
    const TraceSink sink = [&](const std::string& name, int64_t cols, std::span<const float> values) {
      if (seen) {
        seen(name, cols, values);
      }
      if (move && name == "layers.0.out") {  // these rows' embeddings have been read: theirs is the place
        std::copy(values.begin(), values.end(), to);
      }
    };
    RETURN_IF_ERROR(RunRows(*phi, begin, end, sink, cancel));
    begin = end;
  }
  return source_.store.CheckFiles();
}

Status LayerStream::RunRows(Phi& phi, size_t begin, size_t end, const TraceSink& sink,
                            const std::atomic<bool>* cancel) {
  std::vector<StepRow> step;
  std::vector<KvCache> caches;
  for (size_t i = begin; i < end; ++i) {
    const auto size = static_cast<int64_t>(rows_[i].size());
    if (size == 0) {
      continue;
    }
    ASSIGN_OR_RETURN(KvCache cache, phi.NewKvCache(size));
    for (int64_t pos = 0; pos < size; ++pos) {
      step.push_back({static_cast<int32_t>(first_[i] + pos), static_cast<int32_t>(pos), cache.store(), false});
    }
    caches.push_back(std::move(cache));
  }
  return step.empty() ? Status() : phi.Step(step, {.trace = sink, .cancel = cancel, .logits = false}).status();
}

}  // namespace phidias
