#include "engine/batch.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace phidias {
namespace {

// Guessed tokens of all sequences in one step: each has logits, and these are the largest buffer of a step (200 kB a
// row in Phi-2).
constexpr int64_t kMaxGuessed = 64;

}  // namespace

Result<Batch> Batch::Create(Phi* phi, const BatchOptions& options) {
  if (options.max_rows < 1 || options.prompt_rows_beside < 1) {
    return InvalidArgument("a batch of ", std::min(options.max_rows, options.prompt_rows_beside),
                           " tokens: must be at least 1");
  }
  return Batch(phi, options);
}

int64_t Batch::Add(Sequence sequence) {
  live_.push_back({.id = next_id_, .sequence = std::make_unique<Sequence>(std::move(sequence)), .turn = next_turn_++});
  return next_id_++;
}

std::unique_ptr<Sequence> Batch::Remove(int64_t id) {
  const auto it = std::find_if(live_.begin(), live_.end(), [id](const Live& live) { return live.id == id; });
  if (it == live_.end()) {
    return nullptr;
  }
  std::unique_ptr<Sequence> sequence = std::move(it->sequence);
  live_.erase(it);
  return sequence;
}

const Sequence* Batch::Find(int64_t id) const {
  const auto it = std::find_if(live_.begin(), live_.end(), [id](const Live& live) { return live.id == id; });
  return it == live_.end() ? nullptr : it->sequence.get();
}

// Sets each sequence's share of rows for tokens that are known; returns how many rows are left for guesses.
int64_t Batch::ShareRows(const std::vector<Live*>& order) {
  int64_t left = options_.max_rows;
  int64_t for_prompts = options_.max_rows;
  std::vector<Live*> hungry;
  for (Live* live : order) {
    const int64_t wanted = Wanted(*live);
    live->share = std::min<int64_t>({1, wanted, left});
    left -= live->share;
    if (wanted > 1) {
      hungry.push_back(live);
    } else if (live->share == 1) {
      for_prompts = options_.prompt_rows_beside;
    }
  }
  // Equal parts of what prompts may have; what a short one doesn't need goes to the others.
  for (const Live* live : hungry) {
    for_prompts -= live->share;
  }
  for_prompts = std::min(for_prompts, left);
  while (for_prompts > 0 && !hungry.empty()) {
    const int64_t part = std::max<int64_t>(1, for_prompts / static_cast<int64_t>(hungry.size()));
    for (Live* live : hungry) {
      const int64_t more = std::min({part, Wanted(*live) - live->share, for_prompts});
      live->share += more;
      for_prompts -= more;
      left -= more;
    }
    std::erase_if(hungry, [](const Live* live) { return live->share == Wanted(*live); });
  }
  return left;
}

void Batch::CollectRows() {
  std::vector<Live*> order;
  for (Live& live : live_) {
    order.push_back(&live);
  }
  std::sort(order.begin(), order.end(), [](const Live* a, const Live* b) { return a->turn < b->turn; });
  int64_t for_guesses = std::min(ShareRows(order), kMaxGuessed);
  for (Live* live : order) {
    live->turn = live->share > 0 ? next_turn_++ : live->turn;
  }
  rows_.clear();
  for (Live& live : live_) {
    const size_t begin = rows_.size();
    const bool may_guess = live.share > 0 && live.share == Wanted(live);
    live.rows = live.share == 0 ? 0 : live.sequence->AppendRows(live.share + (may_guess ? for_guesses : 0), &rows_);
    live.logits = std::count_if(rows_.begin() + static_cast<std::ptrdiff_t>(begin), rows_.end(),
                                [](const StepRow& row) { return row.wants_logits; });
    for_guesses -= live.rows - live.share;
  }
}

Result<std::vector<BatchEvent>> Batch::Step(const std::atomic<bool>* cancel) {
  std::vector<BatchEvent> events;
  CollectRows();
  if (rows_.empty()) {
    return events;
  }
  ASSIGN_OR_RETURN(std::span<const float> logits, phi_->Step(rows_, {.trace = {}, .cancel = cancel}));
  for (Live& live : live_) {
    if (live.rows == 0) {
      continue;
    }
    const auto size = static_cast<size_t>(live.logits * phi_->config().vocab_size);
    BatchEvent event;
    event.id = live.id;
    event.status = live.sequence->Advance(live.rows, logits.first(size), &event.text);
    logits = logits.subspan(size);
    live.failed = !event.status.ok();
    event.finished = live.failed || live.sequence->finished();
    if (live.logits > 0) {
      events.push_back(std::move(event));
    }
  }
  ++steps_;
  return events;
}

Status Batch::Advance(const std::atomic<bool>* cancel, const std::function<void(const BatchEvent&)>& on_event) {
  if (live_.size() == 1 && !live_[0].failed) {
    const std::optional<Generation> generation = live_[0].sequence->WantedGeneration();
    if (generation.has_value() && phi_->CanGenerate(*generation)) {
      return Generate(&live_[0], *generation, cancel, on_event);
    }
  }
  ASSIGN_OR_RETURN(const std::vector<BatchEvent> events, Step(cancel));
  for (const BatchEvent& event : events) {
    on_event(event);
  }
  return {};
}

Status Batch::Generate(Live* live, const Generation& generation, const std::atomic<bool>* cancel,
                       const std::function<void(const BatchEvent&)>& on_event) {
  const auto cancelled = [cancel] { return cancel != nullptr && cancel->load(std::memory_order_relaxed); };
  if (cancelled()) {
    return {StatusCode::kCancelled, "stopped on request"};
  }
  // Whoever hears that a sequence has ended may remove it, and the back end may still be at work on its cache: the last
  // event waits for it.
  std::optional<BatchEvent> last;
  const Status status = phi_->Generate(generation, [&](int32_t id) {
    BatchEvent event;
    event.id = live->id;
    live->sequence->Take(id, &event.text);
    event.finished = live->sequence->finished();
    ++steps_;
    if (event.finished) {
      last = std::move(event);
      return false;
    }
    on_event(event);
    return !cancelled();
  });
  if (last.has_value()) {
    on_event(*last);
  }
  return status;
}

}  // namespace phidias
