#include "serve/server.h"

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "common/memory_info.h"

namespace phidias::serve {
namespace {

constexpr int64_t kDefaultParallel = 8;

// As many caches as fit half of the memory that is free: they fill one by one.
Result<int64_t> ChooseParallel(int64_t asked, int64_t cache_bytes) {
  const std::optional<uint64_t> available = AvailableMemory();
  if (!available.has_value()) {
    return asked > 0 ? asked : kDefaultParallel;
  }
  const auto fit = static_cast<int64_t>(*available / static_cast<uint64_t>(std::max<int64_t>(cache_bytes, 1)));
  if (asked > 0 && asked > fit) {
    return ResourceExhausted(asked, " KV caches of ", HumanBytes(static_cast<uint64_t>(cache_bytes)), " don't fit the ",
                             HumanBytes(*available), " of memory that are free: lower --parallel or -c");
  }
  return asked > 0 ? asked : std::clamp<int64_t>(fit / 2, 1, kDefaultParallel);
}

}  // namespace

Server::Server(ServerOptions options)
    : api_(std::make_unique<Api>(std::move(options.access), std::move(options.log), options.log_prompts, &metrics_)) {}

Server::~Server() {
  Shutdown(0);
}

Result<std::unique_ptr<Server>> Server::Start(ServerOptions options) {
  const HttpOptions http = options.http;
  std::unique_ptr<Server> server(new Server(std::move(options)));
  // The count is asked for by handlers, which begin when there is something to ask: the pointer is written before.
  auto count = std::make_shared<std::atomic<HttpServer*>>(nullptr);
  server->api_->SetConnectionCount([count] {
    HttpServer* const running = count->load();
    return running == nullptr ? 0 : running->connections();
  });
  ASSIGN_OR_RETURN(server->http_, HttpServer::Start(http, server->api_.get()));
  count->store(server->http_.get());
  return server;
}

Status Server::SetModel(const LoadedModel* model, const ModelOptions& options) {
  const PhiConfig& config = model->phi->config();
  const int64_t limit = config.max_position_embeddings;
  scheduler_options_ = options.scheduler;
  int64_t& context = scheduler_options_.context;
  if (context < 0 || context > limit) {
    return InvalidArgument("a context of ", context, " positions: this model takes 1 to ", limit,
                           " (max_position_embeddings), or 0 for all");
  }
  context = context == 0 ? limit : context;
  int64_t cache_bytes = 0;
  {
    ASSIGN_OR_RETURN(const KvCache one, model->phi->NewKvCache(context));
    cache_bytes = one.bytes();
  }
  scheduler_options_.fewer_will_do = options.scheduler.parallel == 0;
  ASSIGN_OR_RETURN(scheduler_options_.parallel, ChooseParallel(options.scheduler.parallel, cache_bytes));
  info_ = {
      .names = options.names,
      .tokenizer = model->tokenizer.get(),
      .vocab_size = config.vocab_size,
      .context = context,
      .eos_token_ids = EosTokenIds(*model),
      .sampling = options.sampling,
      .random_seed = options.random_seed,
      .format = options.format,
      .lookup = options.lookup,
      .created = std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch())
                     .count()};
  ASSIGN_OR_RETURN(scheduler_, Scheduler::Start(model, scheduler_options_, &metrics_));
  scheduler_options_.parallel = scheduler_->parallel();
  metrics_.OnModel(scheduler_options_.parallel, context);
  api_->SetModel(&info_, scheduler_.get());
  return {};
}

void Server::Shutdown(double seconds) {
  if (http_ == nullptr) {
    return;
  }
  using Clock = std::chrono::steady_clock;
  const auto deadline = Clock::now() + std::chrono::duration<double>(seconds);
  api_->Drain();
  http_->StopAccepting();
  const auto busy = [&] { return scheduler_ != nullptr && scheduler_->load() > 0; };
  while ((busy() || http_->connections() > 0) && Clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  if (scheduler_ != nullptr) {
    scheduler_->Stop();  // what is cut hears of it,
  }
  const auto farewell = Clock::now() + std::chrono::milliseconds(500);
  while (http_->connections() > 0 && Clock::now() < farewell) {  // and gets a moment to be told
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  http_->Stop();
  http_.reset();
}

}  // namespace phidias::serve
