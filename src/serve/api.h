#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "serve/access.h"
#include "serve/completion_spec.h"
#include "serve/exchange.h"
#include "serve/http.h"
#include "serve/scheduler.h"

namespace phidias::serve {

// What the requests mean: OpenAI's API and the few paths around it.
class Api final : public HttpHandler {
 public:
  Api(AccessRules access, LogSink log, bool log_prompts, ServeMetrics* metrics)
      : access_(std::move(access)), log_(std::move(log)), log_prompts_(log_prompts), metrics_(metrics) {}

  // From now on there is a model. Both outlive every request.
  void SetModel(const ModelInfo* model, Scheduler* scheduler);
  // From now on requests for texts are refused.
  void Drain() { draining_ = true; }
  // Where /metrics learns how many connections there are.
  void SetConnectionCount(std::function<int64_t()> count) { connections_ = std::move(count); }

  void Handle(HttpRequest request, std::shared_ptr<HttpReply> reply) override;
  HttpResponse Refusal(int status, std::string_view message) override;

 private:
  using Handler = void (Api::*)(const HttpRequest& request, std::unique_ptr<Exchange> exchange);
  struct Route {
    std::string_view path;
    std::string_view method;
    Handler handler;
    bool open;         // without a key
    bool needs_model;  // 503 while it is being loaded
  };
  static const Route kRoutes[];

  std::unique_ptr<Exchange> NewExchange(const HttpRequest& request, std::shared_ptr<HttpReply> reply,
                                        std::string_view endpoint) const;
  void Run(const Route& route, const HttpRequest& request, std::unique_ptr<Exchange> exchange);
  std::optional<ApiError> Obstacle(const Route& route, const HttpRequest& request) const;
  void Page(const HttpRequest& request, std::unique_ptr<Exchange> exchange);
  void Health(const HttpRequest& request, std::unique_ptr<Exchange> exchange);
  void Metrics(const HttpRequest& request, std::unique_ptr<Exchange> exchange);
  void Models(const HttpRequest& request, std::unique_ptr<Exchange> exchange);
  void OneModel(const HttpRequest& request, std::unique_ptr<Exchange> exchange);
  void Completions(const HttpRequest& request, std::unique_ptr<Exchange> exchange);
  void Chat(const HttpRequest& request, std::unique_ptr<Exchange> exchange);
  void Generate(const HttpRequest& request, bool chat, std::unique_ptr<Exchange> exchange);
  void Tokenize(const HttpRequest& request, std::unique_ptr<Exchange> exchange);
  void Detokenize(const HttpRequest& request, std::unique_ptr<Exchange> exchange);

  AccessRules access_;
  LogSink log_;
  bool log_prompts_;
  ServeMetrics* metrics_;
  std::function<int64_t()> connections_;
  const ModelInfo* model_ = nullptr;
  Scheduler* scheduler_ = nullptr;
  std::atomic<bool> ready_{false};  // model_ and scheduler_ may be read
  std::atomic<bool> draining_{false};
};

}  // namespace phidias::serve
