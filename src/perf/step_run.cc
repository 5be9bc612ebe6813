#include "perf/step_run.h"

#include <algorithm>

#include "numerics/random.h"

namespace phidias {
namespace {

constexpr uint64_t kSeed = 1;

}  // namespace

Status CheckRunShape(const RunShape& shape, const PhiConfig& config) {
  const int64_t limit = config.max_position_embeddings;
  if (shape.prompt < 0 || shape.generate < 0 || shape.depth < 0 || shape.parallel < 1 || shape.batch < 1 ||
      (shape.prompt == 0 && shape.generate == 0)) {
    return InvalidArgument("nothing to measure: a prompt of ", shape.prompt, " and ", shape.generate,
                           " generated tokens, ", shape.parallel, " sequences, ", shape.batch, " rows in a step");
  }
  if (shape.depth > limit || shape.prompt > limit || shape.generate > limit ||
      shape.depth + shape.prompt + shape.generate > limit) {
    return ResourceExhausted("a depth of ", shape.depth, ", a prompt of ", shape.prompt, " and ", shape.generate,
                             " generated tokens: this model's context has ", limit, " positions");
  }
  return {};
}

Result<StepRun> StepRun::Create(Phi& phi, const RunShape& shape, const std::atomic<bool>* cancel) {
  RETURN_IF_ERROR(CheckRunShape(shape, phi.config()));
  StepRun run(phi, shape);
  for (int64_t i = 0; i < shape.parallel; ++i) {
    ASSIGN_OR_RETURN(KvCache cache, phi.NewKvCache(shape.depth + shape.prompt + shape.generate));
    run.caches_.push_back(std::move(cache));
  }
  RETURN_IF_ERROR(run.RunPrompt(run.PromptRows(0, shape.depth, false), cancel));
  return run;
}

Status StepRun::Run(const std::atomic<bool>* cancel) {
  RETURN_IF_ERROR(RunPrompt(PromptRows(shape_.depth, shape_.depth + shape_.prompt, true), cancel));
  for (int64_t i = 0; i < shape_.generate; ++i) {
    const std::vector<StepRow> rows = GenerateRows(shape_.depth + shape_.prompt + i);
    RETURN_IF_ERROR(phi_->Step(rows, {.trace = {}, .cancel = cancel}).status());
  }
  return {};
}

StepCost StepRun::Cost(const ModelCost& model) const {
  StepCost cost;
  const std::vector<StepRow> prompt = PromptRows(shape_.depth, shape_.depth + shape_.prompt, true);
  const auto batch = static_cast<size_t>(shape_.batch);
  for (size_t i = 0; i < prompt.size(); i += batch) {
    cost += model.Of(std::span(prompt).subspan(i, std::min(batch, prompt.size() - i)));
  }
  for (int64_t i = 0; i < shape_.generate; ++i) {
    cost += model.Of(GenerateRows(shape_.depth + shape_.prompt + i));
  }
  return cost;
}

int64_t StepRun::kv_bytes_per_position() const {
  return caches_.front().bytes() / caches_.front().capacity();
}

StepRow StepRun::Row(size_t sequence, int64_t pos, bool logits) const {
  const uint64_t bits = numerics::RandomBits(kSeed, sequence, static_cast<uint64_t>(pos));
  const auto vocabulary = static_cast<uint64_t>(phi_->config().vocab_size);
  return {.token = static_cast<int32_t>(numerics::ScaleBits(bits, vocabulary)),
          .pos = static_cast<int32_t>(pos),
          .kv = caches_[sequence].store(),
          .wants_logits = logits};
}

std::vector<StepRow> StepRun::PromptRows(int64_t begin, int64_t end, bool logits) const {
  std::vector<StepRow> rows;
  for (size_t sequence = 0; sequence < caches_.size(); ++sequence) {
    for (int64_t pos = begin; pos < end; ++pos) {
      rows.push_back(Row(sequence, pos, logits && pos + 1 == end));
    }
  }
  return rows;
}

std::vector<StepRow> StepRun::GenerateRows(int64_t pos) const {
  std::vector<StepRow> rows;
  for (size_t sequence = 0; sequence < caches_.size(); ++sequence) {
    rows.push_back(Row(sequence, pos, true));
  }
  return rows;
}

Status StepRun::RunPrompt(std::span<const StepRow> rows, const std::atomic<bool>* cancel) {
  const auto batch = static_cast<size_t>(shape_.batch);
  for (size_t i = 0; i < rows.size(); i += batch) {
    RETURN_IF_ERROR(
        phi_->Step(rows.subspan(i, std::min(batch, rows.size() - i)), {.trace = {}, .cancel = cancel}).status());
  }
  return {};
}

}  // namespace phidias
