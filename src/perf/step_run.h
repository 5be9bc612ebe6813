#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

#include "model/kv_cache.h"
#include "model/phi.h"
#include "perf/model_cost.h"

namespace phidias {

// One measurement: `parallel` sequences, each with `depth` tokens in its cache already, take `prompt` tokens in steps
// of at most `batch` rows and then `generate` tokens one at a time, all sequences in one step.
struct RunShape {
  int64_t prompt = 0;
  int64_t generate = 0;
  int64_t depth = 0;
  int64_t parallel = 1;
  int64_t batch = 512;

  int64_t positions() const { return depth + prompt + generate; }  // of each sequence
  int64_t tokens() const { return parallel * (prompt + generate); }
};

// Errors: nothing to measure, more tokens than the model's context.
Status CheckRunShape(const RunShape& shape, const PhiConfig& config);

// Steps of a model without text: ids are random (counter-based, the same in every run), nothing is sampled.
class StepRun {
 public:
  // Allocates the caches and fills them up to the depth, which isn't measured. `phi` must outlive this. Errors:
  // CheckRunShape's, no memory, cancellation.
  static Result<StepRun> Create(Phi& phi, const RunShape& shape, const std::atomic<bool>* cancel);

  // One repetition; the next one begins at the depth again.
  Status Run(const std::atomic<bool>* cancel);

  // What one repetition costs.
  StepCost Cost(const ModelCost& model) const;

  int64_t kv_bytes_per_position() const;  // of one sequence

 private:
  StepRun(Phi& phi, const RunShape& shape) : phi_(&phi), shape_(shape) {}
  StepRow Row(size_t sequence, int64_t pos, bool logits) const;
  // Positions [begin, end) of all sequences, one sequence after the other; the last of each wants logits if `logits`.
  std::vector<StepRow> PromptRows(int64_t begin, int64_t end, bool logits) const;
  std::vector<StepRow> GenerateRows(int64_t pos) const;
  Status RunPrompt(std::span<const StepRow> rows, const std::atomic<bool>* cancel);

  Phi* phi_;
  RunShape shape_;
  std::vector<KvCache> caches_;
};

}  // namespace phidias
