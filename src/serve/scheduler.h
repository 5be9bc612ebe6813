#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "common/status.h"
#include "engine/batch.h"
#include "engine/loaded_model.h"
#include "serve/kv_pool.h"
#include "serve/metrics.h"

namespace phidias::serve {

// One text that a request wants.
struct ChoiceRequest {
  std::vector<int32_t> prompt;
  SequenceOptions options;
};

// What a step did for one of a request's choices.
struct ChoiceEvent {
  size_t choice = 0;
  std::string text;                           // that became complete
  int64_t tokens = 0;                         // generated since the last event
  int64_t cached = 0;                         // of the prompt, found in a KV cache; only in the first event
  std::vector<TokenLogprob> prompt_logprobs;  // if asked for, in the first event after the prompt
  std::vector<TokenLogprob> logprobs;         // of the tokens since the last event, if asked for
  FinishReason finished = FinishReason::kNone;
  Status status;  // not ok: the choice failed, and nothing more comes of it
};

// Who hears of a request's progress, on the engine's thread: it must not wait for anything.
class ChoiceSink {
 public:
  virtual ~ChoiceSink() = default;
  // Events of one step, at most one for each choice. A choice ends with `finished` or a status.
  virtual void OnEvents(std::vector<ChoiceEvent> events) = 0;
};

struct SchedulerOptions {
  int64_t parallel = 8;    // choices that run at a time, each with a KV cache of its own
  int64_t context = 2048;  // positions of each
  int64_t batch = 512;     // tokens of one step
  int64_t queue = 256;     // requests that may wait
  // Where there is no room for `parallel` caches (on a card): as many as there is room for, or an error?
  bool fewer_will_do = false;
};

// One thread steps all choices of all requests together. Requests wait in a queue and have their choices begun in
// turns, one choice of each, so that a request for many texts doesn't keep out the others.
class Scheduler {
 public:
  class Job;
  using Ticket = std::shared_ptr<Job>;

  // `model` and `metrics` outlive the scheduler, and nobody else steps the model meanwhile.
  static Result<std::unique_ptr<Scheduler>> Start(const LoadedModel* model, const SchedulerOptions& options,
                                                  ServeMetrics* metrics);
  ~Scheduler();
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  // From any thread. Errors: kResourceExhausted where the queue is full, kCancelled after Stop().
  Result<Ticket> Submit(std::vector<ChoiceRequest> choices, std::shared_ptr<ChoiceSink> sink);
  // Nobody wants the rest: the sink hears nothing more, except of what is on its way already. The step in progress is
  // cut short, between layers, if it computes nothing for anybody else.
  void Cancel(const Ticket& ticket);
  // How long a request that isn't taken should wait before it asks again, from what requests took lately.
  int RetrySeconds() const;
  int64_t parallel() const { return options_.parallel; }
  // Requests that run or wait.
  int64_t load() const;

  // Ends everything: sinks hear a status kCancelled. Submit refuses from then on. Waits for the thread.
  void Stop();

 private:
  using Clock = std::chrono::steady_clock;
  struct Running {
    Ticket job;
    size_t choice = 0;
    size_t slot = 0;
    int64_t cached = 0;
    int64_t told = 0;          // generated tokens that the sink has heard of
    bool prompt_told = false;  // and whether of the prompt's scores
    Clock::time_point last_token;
  };

  Scheduler(const LoadedModel* model, const SchedulerOptions& options, ServeMetrics* metrics, Batch batch, KvPool pool);
  void Loop();
  bool WaitForWork();
  void EndAll(const Status& status);
  void DropCancelled();
  void AdmitAll();
  bool TakeNext(Ticket* job, size_t* choice);
  void Begin(const Ticket& job, size_t choice);
  Result<int64_t> Admit(const Ticket& job, size_t choice);
  void StepOnce();
  ChoiceEvent EventOf(const BatchEvent& event, Running* running);
  void Observe(const ChoiceEvent& event, Running* running);
  void Release(std::map<int64_t, Running>::iterator it);
  void ChoiceEnded(const Ticket& job);
  void ReportKv();
  void ReportGauges();

  const LoadedModel* model_;
  SchedulerOptions options_;
  ServeMetrics* metrics_;

  // Of the engine's thread alone.
  Batch batch_;
  KvPool pool_;
  std::map<int64_t, Running> running_;  // by the batch's id

  mutable std::mutex mutex_;
  std::condition_variable work_;
  std::deque<Ticket> queue_;      // jobs with choices that haven't begun, in order of their turns
  int64_t waiting_ = 0;           // jobs in it of which nothing has begun
  std::vector<Ticket> stepping_;  // jobs that the step in progress computes something for
  int64_t active_ = 0;            // jobs of which something has begun
  double mean_seconds_ = 1;       // that a job takes, lately
  bool stop_ = false;
  std::atomic<bool> cancel_step_{false};

  std::thread thread_;
};

}  // namespace phidias::serve
