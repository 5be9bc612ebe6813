#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "common/thread_pool.h"
#include "model/checkpoint.h"
#include "model/files/safetensors_writer.h"
#include "quant/plan.h"

namespace phidias {

enum class OutputPart { kEmbedding, kAttention, kMlp, kNorms, kLmHead };
inline constexpr size_t kOutputParts = 5;

// A tensor of the quantised checkpoint: what the header says of it, and a function that makes its bytes, a few
// megabytes at a time.
struct OutputTensor {
  using Sink = std::function<Status(std::span<const std::byte>)>;

  SafetensorsEntry entry;
  OutputPart part = OutputPart::kEmbedding;
  std::function<Status(const Sink& sink)> write;
  int64_t bytes() const;
};

// All tensors, in the order of the model, in compressed-tensors' names and shapes (docs/formats.md). Values that
// smoothing didn't change keep the dtype of the source, changed ones become F32; Q8_0 becomes F16. `source`, `plan` and
// `pool` must outlive the result.
std::vector<OutputTensor> OutputTensors(const Checkpoint& source, const QuantPlan& plan, ThreadPool* pool);

// Bytes of each part as the source stores it.
std::vector<int64_t> SourceBytes(const Checkpoint& source);

}  // namespace phidias
