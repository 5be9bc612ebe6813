#pragma once

#include <memory>
#include <string>
#include <vector>

#include "common/status.h"
#include "engine/loaded_model.h"
#include "serve/access.h"
#include "serve/api.h"
#include "serve/http_server.h"
#include "serve/scheduler.h"

namespace phidias::serve {

struct ServerOptions {
  HttpOptions http;
  AccessRules access;
  LogSink log;
  bool log_prompts = false;
};

struct ModelOptions {
  std::vector<std::string> names;  // at least one
  SchedulerOptions scheduler = {.parallel = 0,
                                .context = 0};  // 0: as many as memory allows, at most 8; the model's limit
  SamplingParams sampling;
  bool random_seed = true;
  PromptFormat format = PromptFormat::kQa;
  int64_t lookup = 0;
};

// The whole server. It answers from Start on, with 503 until it has a model.
class Server {
 public:
  static Result<std::unique_ptr<Server>> Start(ServerOptions options);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // `model` outlives the server; nobody else steps it. Once. Errors: a context that the model doesn't have, memory.
  Status SetModel(const LoadedModel* model, const ModelOptions& options);

  // Takes no more connections and requests, waits until those under way are answered or `seconds` are over, cuts what
  // is left, and ends.
  void Shutdown(double seconds);

  int port() const { return http_->port(); }
  const ModelInfo& model() const { return info_; }
  const SchedulerOptions& scheduler_options() const { return scheduler_options_; }

 private:
  explicit Server(ServerOptions options);

  ServeMetrics metrics_;
  ModelInfo info_;
  SchedulerOptions scheduler_options_;
  std::unique_ptr<HttpServer> http_;  // its handlers hold what follows; ended first
  std::unique_ptr<Api> api_;
  std::unique_ptr<Scheduler> scheduler_;
};

}  // namespace phidias::serve
