#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/status.h"
#include "engine/sequence.h"
#include "model/phi.h"

namespace phidias {

struct BatchOptions {
  int64_t max_rows = 512;  // of one step
  // Rows of prompts in a step that also gives a running sequence its next token: what that one may have to wait for (a
  // prompt always gets one).
  int64_t prompt_rows_beside = 64;
};

// What a step did for one sequence.
struct BatchEvent {
  int64_t id = 0;
  std::string text;       // that became complete, possibly ""
  bool finished = false;  // no more is to come
  Status status;          // not ok: this sequence failed (its logits are not finite); the others go on
};

// Several sequences that go through the model together, so that one pass over the weights gives each of them a token.
// Sequences join and leave between steps; what each says is what it would say alone, since a row's logits don't depend
// on the other rows of a step.
//
// Not for several threads at once: whoever serves many clients has one thread that steps and a queue before it.
class Batch {
 public:
  // `phi` outlives the batch and is stepped by nobody else meanwhile. Error: options below 1.
  static Result<Batch> Create(Phi* phi, const BatchOptions& options);

  // The sequence takes part from the next step on. Returns its id: 0, 1, 2, ...
  int64_t Add(Sequence sequence);
  // Takes a sequence out, finished or not; its cache's memory goes with it. Null if there is none with this id.
  std::unique_ptr<Sequence> Remove(int64_t id);
  const Sequence* Find(int64_t id) const;
  int64_t size() const { return static_cast<int64_t>(live_.size()); }

  // One step. Every unfinished sequence gets a row, those that have waited longest first if there are more of them than
  // rows. The rest of the rows is shared by the prompts that are being read, and what is left then by guesses (lookup).
  // Returns an event for every sequence that got a token; finished ones stay until they are removed.
  // Errors are those of Phi::Step; cancellation is one of them. No sequence has then moved: the step may be tried
  // again.
  Result<std::vector<BatchEvent>> Step(const std::atomic<bool>* cancel = nullptr);

  // A step; or, where one sequence is alone and past its prompt, and the back end can generate for it without the host
  // between tokens (Phi::CanGenerate): all of its tokens, until *cancel. `on_event` may remove a sequence that has
  // ended. Errors: as Step's, but sequences may have moved.
  Status Advance(const std::atomic<bool>* cancel, const std::function<void(const BatchEvent&)>& on_event);

  int64_t steps() const { return steps_; }  // completed so far

 private:
  struct Live {
    int64_t id;
    std::unique_ptr<Sequence> sequence;
    int64_t turn = 0;  // the lowest is served first; a sequence that was served goes to the end
    bool failed = false;
    int64_t share = 0;   // rows that it may have for known tokens in the step being made
    int64_t rows = 0;    // that it took
    int64_t logits = 0;  // rows of these that want logits
  };

  Batch(Phi* phi, const BatchOptions& options) : phi_(phi), options_(options) {}
  static int64_t Wanted(const Live& live) { return live.failed ? 0 : live.sequence->RowsWanted(); }
  Status Generate(Live* live, const Generation& generation, const std::atomic<bool>* cancel,
                  const std::function<void(const BatchEvent&)>& on_event);
  int64_t ShareRows(const std::vector<Live*>& order);
  void CollectRows();

  Phi* phi_;
  BatchOptions options_;
  std::vector<Live> live_;     // by id
  std::vector<StepRow> rows_;  // of the step being made
  int64_t next_id_ = 0;
  int64_t next_turn_ = 0;
  int64_t steps_ = 0;
};

}  // namespace phidias
