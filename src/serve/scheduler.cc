#include "serve/scheduler.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace phidias::serve {

// A request. Fields without a comment are fixed; the others are guarded by the scheduler's mutex.
class Scheduler::Job {
 public:
  Job(std::vector<ChoiceRequest> choices, std::shared_ptr<ChoiceSink> sink)
      : choices_(std::move(choices)), sink_(std::move(sink)), open_(choices_.size()) {}

 private:
  friend class Scheduler;
  std::vector<ChoiceRequest> choices_;  // moved from as they begin
  std::shared_ptr<ChoiceSink> sink_;    // the engine's thread alone lets go of it
  Clock::time_point submitted_ = Clock::now();
  size_t next_ = 0;  // the first choice that hasn't begun
  size_t open_;      // choices that haven't ended
  bool cancelled_ = false;
};

Result<std::unique_ptr<Scheduler>> Scheduler::Start(const LoadedModel* model, const SchedulerOptions& options,
                                                    ServeMetrics* metrics) {
  if (options.parallel < 1 || options.queue < 0) {
    return InvalidArgument(options.parallel, " sequences at a time and ", options.queue,
                           " in the queue: must be at least 1 and 0");
  }
  ASSIGN_OR_RETURN(Batch batch, Batch::Create(model->phi.get(), {.max_rows = options.batch}));
  ASSIGN_OR_RETURN(KvPool pool, KvPool::Create(model->phi.get(), options.parallel, options.context));
  if (pool.size() < options.parallel && !options.fewer_will_do) {
    return ResourceExhausted("--parallel ", options.parallel, ": ", model->phi->backend().Describe(), " has room for ",
                             pool.size(), " KV caches of ", options.context,
                             " positions; lower --parallel or -c (or leave --parallel out)");
  }
  SchedulerOptions actual = options;
  actual.parallel = pool.size();
  std::unique_ptr<Scheduler> scheduler(new Scheduler(model, actual, metrics, std::move(batch), std::move(pool)));
  scheduler->thread_ = std::thread([raw = scheduler.get()] { raw->Loop(); });
  return scheduler;
}

Scheduler::Scheduler(const LoadedModel* model, const SchedulerOptions& options, ServeMetrics* metrics, Batch batch,
                     KvPool pool)
    : model_(model), options_(options), metrics_(metrics), batch_(std::move(batch)), pool_(std::move(pool)) {}

Scheduler::~Scheduler() {
  Stop();
}

Result<Scheduler::Ticket> Scheduler::Submit(std::vector<ChoiceRequest> choices, std::shared_ptr<ChoiceSink> sink) {
  auto job = std::make_shared<Job>(std::move(choices), std::move(sink));
  {
    const std::lock_guard lock(mutex_);
    if (stop_) {
      return Status(StatusCode::kCancelled, "the server is shutting down");
    }
    // With a place free, what stands in the queue is about to leave it.
    if (waiting_ >= options_.queue + std::max<int64_t>(0, options_.parallel - active_)) {
      return ResourceExhausted("all ", options_.parallel, " places are taken and ", waiting_, " requests wait");
    }
    queue_.push_back(job);
    ++waiting_;
    ReportGauges();
  }
  work_.notify_one();
  return job;
}

void Scheduler::Cancel(const Ticket& ticket) {
  {
    const std::lock_guard lock(mutex_);
    ticket->cancelled_ = true;
    const bool wanted =
        std::any_of(stepping_.begin(), stepping_.end(), [](const Ticket& job) { return !job->cancelled_; });
    if (!stepping_.empty() && !wanted) {
      cancel_step_ = true;
    }
  }
  work_.notify_one();
}

int Scheduler::RetrySeconds() const {
  const std::lock_guard lock(mutex_);
  const double seconds = mean_seconds_ * static_cast<double>(waiting_ + 1) / static_cast<double>(options_.parallel);
  return static_cast<int>(std::clamp(std::ceil(seconds), 1.0, 60.0));
}

int64_t Scheduler::load() const {
  const std::lock_guard lock(mutex_);
  return waiting_ + active_;
}

void Scheduler::Stop() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
    cancel_step_ = true;
  }
  work_.notify_one();
  if (thread_.joinable()) {
    thread_.join();
  }
}

void Scheduler::Loop() {
  while (WaitForWork()) {
    DropCancelled();
    AdmitAll();
    if (!running_.empty()) {
      StepOnce();
    }
    ReportKv();
  }
  EndAll(Status(StatusCode::kCancelled, "the server is shutting down"));
}

bool Scheduler::WaitForWork() {
  std::unique_lock lock(mutex_);
  work_.wait(lock, [&] { return stop_ || !queue_.empty() || !running_.empty(); });
  return !stop_;
}

// Tells every choice that runs, and those that wait as well if the scheduler stops, that it has ended.
void Scheduler::EndAll(const Status& status) {
  std::vector<std::pair<Ticket, size_t>> ended;
  while (!running_.empty()) {
    const auto it = running_.begin();
    ended.emplace_back(it->second.job, it->second.choice);
    Release(it);
  }
  {
    const std::lock_guard lock(mutex_);
    while (stop_ && !queue_.empty()) {
      const Ticket job = queue_.front();
      queue_.pop_front();
      waiting_ -= job->next_ == 0 ? 1 : 0;
      active_ += job->next_ == 0 ? 1 : 0;
      while (job->next_ < job->choices_.size()) {
        ended.emplace_back(job, job->next_++);
      }
    }
  }
  for (const auto& [job, choice] : ended) {
    std::vector<ChoiceEvent> events(1);
    events[0].choice = choice;
    events[0].status = status;
    job->sink_->OnEvents(std::move(events));
    ChoiceEnded(job);
  }
}

void Scheduler::DropCancelled() {
  std::vector<Ticket> dropped;
  {
    const std::lock_guard lock(mutex_);
    for (const Ticket& job : queue_) {
      if (job->cancelled_) {
        dropped.push_back(job);
      }
    }
    std::erase_if(queue_, [](const Ticket& job) { return job->cancelled_; });
  }
  for (const Ticket& job : dropped) {
    const size_t unbegun = job->choices_.size() - job->next_;
    {
      const std::lock_guard lock(mutex_);
      waiting_ -= job->next_ == 0 ? 1 : 0;
      active_ += job->next_ == 0 ? 1 : 0;  // ChoiceEnded takes it out again
      job->next_ = job->choices_.size();
    }
    for (size_t i = 0; i < unbegun; ++i) {
      ChoiceEnded(job);
    }
  }
  for (auto it = running_.begin(); it != running_.end();) {
    const auto next = std::next(it);
    bool cancelled = false;
    {
      const std::lock_guard lock(mutex_);
      cancelled = it->second.job->cancelled_;
    }
    if (cancelled) {
      const Ticket job = it->second.job;
      Release(it);
      ChoiceEnded(job);
    }
    it = next;
  }
}

void Scheduler::AdmitAll() {
  Ticket job;
  size_t choice = 0;
  while (pool_.free() > 0 && TakeNext(&job, &choice)) {
    Begin(job, choice);
  }
}

// The next choice to begin: that of the job whose turn it is, which then goes to the end of the queue if it has more.
bool Scheduler::TakeNext(Ticket* job, size_t* choice) {
  const std::lock_guard lock(mutex_);
  if (queue_.empty()) {
    return false;
  }
  *job = queue_.front();
  queue_.pop_front();
  *choice = (*job)->next_++;
  if (*choice == 0) {
    --waiting_;
    ++active_;
  }
  if ((*job)->next_ < (*job)->choices_.size()) {
    queue_.push_back(*job);
  }
  ReportGauges();
  return true;
}

void Scheduler::Begin(const Ticket& job, size_t choice) {
  const Result<int64_t> id = Admit(job, choice);
  const Sequence* const sequence = id.ok() ? batch_.Find(*id) : nullptr;
  if (sequence != nullptr && !sequence->finished()) {
    return;
  }
  // Nothing to compute (no tokens were asked for), or it can't be.
  std::vector<ChoiceEvent> events(1);
  events[0].choice = choice;
  events[0].status = id.status();
  if (sequence != nullptr) {
    events[0].finished = sequence->finish_reason();
    Release(running_.find(*id));
  }
  job->sink_->OnEvents(std::move(events));
  ChoiceEnded(job);
}

// Makes the sequence and puts it into the batch; returns its id there.
Result<int64_t> Scheduler::Admit(const Ticket& job, size_t choice) {
  ChoiceRequest request = std::move(job->choices_[choice]);
  const auto prompt_tokens = static_cast<int64_t>(request.prompt.size());
  ASSIGN_OR_RETURN(KvPool::Lease lease, pool_.Take(request.prompt, !request.options.prompt_logprobs));
  const size_t slot = lease.slot;
  const int64_t cached = lease.reused;
  Result<Sequence> made = Sequence::Create(*model_->tokenizer, model_->phi->config().vocab_size, std::move(lease.cache),
                                           std::move(request.prompt), std::move(request.options));
  if (!made.ok()) {
    pool_.Forget(slot);
    return made.status();
  }
  const int64_t id = batch_.Add(*std::move(made));
  running_.emplace(id, Running{.job = job, .choice = choice, .slot = slot, .cached = cached, .last_token = {}});
  metrics_->OnBegun(std::chrono::duration<double>(Clock::now() - job->submitted_).count(), prompt_tokens, cached);
  return id;
}

void Scheduler::StepOnce() {
  {
    const std::lock_guard lock(mutex_);
    stepping_.clear();
    for (const auto& [id, running] : running_) {
      stepping_.push_back(running.job);
    }
    cancel_step_ =
        stop_ || std::all_of(stepping_.begin(), stepping_.end(), [](const Ticket& job) { return job->cancelled_; });
  }
  const Result<std::vector<BatchEvent>> events = batch_.Step(&cancel_step_);
  {
    const std::lock_guard lock(mutex_);
    stepping_.clear();
  }
  if (!events.ok()) {
    if (events.status().code() != StatusCode::kCancelled) {
      EndAll(events.status());
    }
    return;
  }
  // Events of one job go out together.
  std::vector<std::pair<Ticket, std::vector<ChoiceEvent>>> told;
  std::vector<Ticket> ended;
  for (const BatchEvent& event : *events) {
    const auto it = running_.find(event.id);
    const Ticket job = it->second.job;
    auto entry = std::find_if(told.begin(), told.end(), [&](const auto& pair) { return pair.first == job; });
    if (entry == told.end()) {
      told.emplace_back(job, std::vector<ChoiceEvent>());
      entry = std::prev(told.end());
    }
    entry->second.push_back(EventOf(event, &it->second));
    if (event.finished) {
      Release(it);
      ended.push_back(job);
    }
  }
  for (auto& [job, list] : told) {
    job->sink_->OnEvents(std::move(list));
  }
  for (const Ticket& job : ended) {
    ChoiceEnded(job);
  }
  metrics_->OnStep();
}

ChoiceEvent Scheduler::EventOf(const BatchEvent& event, Running* running) {
  const Sequence& sequence = *batch_.Find(event.id);
  const auto generated = static_cast<int64_t>(sequence.generated().size());
  ChoiceEvent out;
  out.choice = running->choice;
  out.text = event.text;
  out.tokens = generated - running->told;
  out.cached = running->told == 0 ? running->cached : 0;
  out.status = event.status;
  out.finished = sequence.finish_reason();
  if (out.tokens > 0 || event.finished) {
    if (!running->prompt_told) {
      running->prompt_told = true;
      const auto scores = sequence.prompt_logprobs();
      out.prompt_logprobs.assign(scores.begin(), scores.end());
    }
    const auto scores = sequence.logprobs();
    const auto from = std::min(static_cast<size_t>(running->told), scores.size());
    out.logprobs.assign(scores.begin() + static_cast<std::ptrdiff_t>(from), scores.end());
  }
  Observe(out, running);
  running->told = generated;
  return out;
}

void Scheduler::Observe(const ChoiceEvent& event, Running* running) {
  if (event.tokens == 0) {
    return;
  }
  const Clock::time_point now = Clock::now();
  const bool first = running->told == 0;
  const Clock::time_point since = first ? running->job->submitted_ : running->last_token;
  metrics_->OnTokens(event.tokens, first, std::chrono::duration<double>(now - since).count());
  running->last_token = now;
}

void Scheduler::Release(std::map<int64_t, Running>::iterator it) {
  const std::unique_ptr<Sequence> sequence = batch_.Remove(it->first);
  pool_.Return(it->second.slot, sequence->ReleaseCache(), sequence->tokens());
  running_.erase(it);
}

void Scheduler::ChoiceEnded(const Ticket& job) {
  bool over = false;
  {
    const std::lock_guard lock(mutex_);
    over = --job->open_ == 0;
    if (over) {
      --active_;
      const double seconds = std::chrono::duration<double>(Clock::now() - job->submitted_).count();
      mean_seconds_ += (seconds - mean_seconds_) / 16;
    }
    ReportGauges();
  }
  if (over) {
    job->sink_.reset();
  }
}

void Scheduler::ReportKv() {
  int64_t used = 0;
  for (const auto& [id, running] : running_) {
    used += batch_.Find(id)->cache().length();
  }
  metrics_->OnKv(static_cast<int64_t>(running_.size()), used, pool_.held(), pool_.bytes());
}

void Scheduler::ReportGauges() {
  metrics_->OnQueue(active_, waiting_);
}

}  // namespace phidias::serve
