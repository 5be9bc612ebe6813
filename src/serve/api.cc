#include "serve/api.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "serve/completion_task.h"
#include "serve/fields.h"
#include "serve/random_id.h"
#include "serve/web_page.h"

namespace phidias::serve {
namespace {

constexpr size_t kMaxRequestId = 128;
constexpr size_t kMaxLoggedPath = 256;
constexpr std::string_view kModelPrefix = "/models/";

// The client's own id if it is one that can stand in a header and a log.
std::string RequestId(const HttpRequest& request) {
  const std::string_view given = request.Header("x-request-id");
  const bool usable = !given.empty() && given.size() <= kMaxRequestId &&
                      std::all_of(given.begin(), given.end(), [](char c) { return c > ' ' && c < 127; });
  return usable ? std::string(given) : "req-" + RandomId();
}

HttpResponse JsonResponse(const Json& json) {
  HttpResponse response;
  response.body = Dump(json);
  return response;
}

// "/v1/models" and "/models" are the same: people put either into the base URL of their client.
std::string_view PlainPath(std::string_view path) {
  constexpr std::string_view kVersion = "/v1";
  return path.starts_with(std::string(kVersion) + "/") ? path.substr(kVersion.size()) : path;
}

// "%2F" is "/": clients escape names of models.
std::string Unescaped(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    unsigned value = 0;
    const char* const digits = text.data() + i + 1;
    if (text[i] == '%' && i + 2 < text.size() && std::from_chars(digits, digits + 2, value, 16).ptr == digits + 2) {
      out.push_back(static_cast<char>(value));
      i += 2;
    } else {
      out.push_back(text[i]);
    }
  }
  return out;
}

Json ModelJson(const ModelInfo& model, const std::string& name) {
  return {{"id", name},
          {"object", "model"},
          {"created", model.created},
          {"owned_by", "phidias"},
          {"max_model_len", model.context}};
}

}  // namespace

const Api::Route Api::kRoutes[] = {
    {"/", "GET", &Api::Page, true, false},
    {"/health", "GET", &Api::Health, true, false},
    {"/metrics", "GET", &Api::Metrics, false, false},
    {"/models", "GET", &Api::Models, false, true},
    {kModelPrefix, "GET", &Api::OneModel, false, true},
    {"/completions", "POST", &Api::Completions, false, true},
    {"/chat/completions", "POST", &Api::Chat, false, true},
    {"/tokenize", "POST", &Api::Tokenize, false, true},
    {"/detokenize", "POST", &Api::Detokenize, false, true},
};

void Api::SetModel(const ModelInfo* model, Scheduler* scheduler) {
  model_ = model;
  scheduler_ = scheduler;
  ready_ = true;
}

HttpResponse Api::Refusal(int status, std::string_view message) {
  ApiError error = {.status = status, .message = std::string(message)};
  if (status == 503) {
    error = Unavailable(std::string(message));
  }
  metrics_->OnRequest("none", status, 0);
  return ErrorResponse(error);
}

std::unique_ptr<Exchange> Api::NewExchange(const HttpRequest& request, std::shared_ptr<HttpReply> reply,
                                           std::string_view endpoint) const {
  RequestRecord record = {.id = RequestId(request),
                          .peer = request.peer,
                          .method = request.method,
                          .path = request.path.substr(0, kMaxLoggedPath),
                          .finish = {},
                          .error = {},
                          .prompt = {}};
  HttpHeaders headers = CorsHeaders(access_, request);
  headers.emplace_back("x-request-id", record.id);
  return std::make_unique<Exchange>(std::move(reply), std::move(headers), std::move(record), endpoint, metrics_, &log_);
}

void Api::Handle(HttpRequest request, std::shared_ptr<HttpReply> reply) {
  const std::string_view path = PlainPath(request.path);
  const auto matches = [&](const Route& route) {
    return route.path == kModelPrefix ? path.starts_with(kModelPrefix) : path == route.path;
  };
  const auto* const route = std::find_if(std::begin(kRoutes), std::end(kRoutes), matches);
  const bool known = route != std::end(kRoutes);
  std::unique_ptr<Exchange> exchange = NewExchange(request, std::move(reply), known ? route->path : "unknown");
  if (known) {
    return Run(*route, request, std::move(exchange));
  }
  exchange->Fail({.status = 404,
                  .message = "there is nothing at " + Quoted(request.path) +
                             "; the API is at /v1/chat/completions, /v1/completions and /v1/models",
                  .code = "not_found"});
}

void Api::Run(const Route& route, const HttpRequest& request, std::unique_ptr<Exchange> exchange) {
  if (request.method == "OPTIONS") {
    HttpResponse response;
    response.status = 204;
    response.headers.emplace_back("Allow", std::string(route.method) + ", OPTIONS");
    if (OriginOf(access_, request) == OriginKind::kAllowed) {
      const HttpHeaders more = PreflightHeaders(request);
      response.headers.insert(response.headers.end(), more.begin(), more.end());
    }
    return exchange->Answer(std::move(response));
  }
  if (request.method != route.method && !(request.method == "HEAD" && route.method == "GET")) {
    HttpResponse response = ErrorResponse(
        {.status = 405, .message = request.path + " takes " + std::string(route.method) + ", not " + request.method});
    response.headers.emplace_back("Allow", std::string(route.method) + ", OPTIONS");
    return exchange->Answer(std::move(response));
  }
  if (const std::optional<ApiError> error = Obstacle(route, request)) {
    return exchange->Fail(*error);
  }
  (this->*route.handler)(request, std::move(exchange));
}

// What keeps the request from being looked at.
std::optional<ApiError> Api::Obstacle(const Route& route, const HttpRequest& request) const {
  // A browser sends simple POSTs of any page without asking: nobody else's page shall use this machine.
  if (route.method == "POST" && OriginOf(access_, request) == OriginKind::kForeign) {
    return ApiError{.status = 403,
                    .message = "pages of " + Quoted(request.Header("origin")) +
                               " may not use this server; --cors-origins lists those that may",
                    .code = "origin_not_allowed"};
  }
  if (!route.open && !IsAuthorised(access_, request)) {
    return ApiError{.status = 401,
                    .message = request.Header("authorization").empty()
                                   ? "an API key is needed: send it as \"Authorization: Bearer KEY\""
                                   : "this API key isn't known here",
                    .code = "invalid_api_key"};
  }
  const std::string_view encoding = request.Header("content-encoding");
  if (!encoding.empty() && encoding != "identity") {
    return ApiError{.status = 415, .message = "a compressed body (Content-Encoding) is not supported"};
  }
  if (route.needs_model && !ready_) {
    return Unavailable("the model is being loaded");
  }
  if (route.method == "POST" && draining_) {
    return Unavailable("the server is shutting down");
  }
  return std::nullopt;
}

void Api::Page(const HttpRequest&, std::unique_ptr<Exchange> exchange) {
  HttpResponse response;
  response.content_type = "text/html; charset=utf-8";
  response.headers = {{"Cache-Control", "no-cache"}, {"X-Content-Type-Options", "nosniff"}};
  response.body = WebPage();
  exchange->Answer(std::move(response));
}

void Api::Health(const HttpRequest&, std::unique_ptr<Exchange> exchange) {
  if (!ready_ || draining_) {
    return exchange->Fail(Unavailable(draining_ ? "the server is shutting down" : "the model is being loaded"));
  }
  exchange->Answer(JsonResponse({{"status", "ok"}}));
}

void Api::Metrics(const HttpRequest&, std::unique_ptr<Exchange> exchange) {
  HttpResponse response;
  response.content_type = "text/plain; version=0.0.4; charset=utf-8";
  response.body = metrics_->Text(connections_ ? connections_() : 0);
  exchange->Answer(std::move(response));
}

void Api::Models(const HttpRequest&, std::unique_ptr<Exchange> exchange) {
  Json list = Json::array();
  for (const std::string& name : model_->names) {
    list.push_back(ModelJson(*model_, name));
  }
  exchange->Answer(JsonResponse({{"object", "list"}, {"data", std::move(list)}}));
}

void Api::OneModel(const HttpRequest& request, std::unique_ptr<Exchange> exchange) {
  const std::string name = Unescaped(PlainPath(request.path).substr(kModelPrefix.size()));
  if (const std::optional<ApiError> error = CheckModel({{"model", name}}, *model_)) {
    return exchange->Fail(*error);
  }
  exchange->Answer(JsonResponse(ModelJson(*model_, name)));
}

void Api::Completions(const HttpRequest& request, std::unique_ptr<Exchange> exchange) {
  Generate(request, false, std::move(exchange));
}

void Api::Chat(const HttpRequest& request, std::unique_ptr<Exchange> exchange) {
  Generate(request, true, std::move(exchange));
}

void Api::Generate(const HttpRequest& request, bool chat, std::unique_ptr<Exchange> exchange) {
  const Parsed<RequestJson> body = ParseObject(request.body);
  if (const auto* const error = std::get_if<ApiError>(&body)) {
    return exchange->Fail(*error);
  }
  Parsed<CompletionSpec> parsed = ParseCompletion(std::get<RequestJson>(body), chat, *model_);
  if (const auto* const error = std::get_if<ApiError>(&parsed)) {
    return exchange->Fail(*error);
  }
  auto& spec = std::get<CompletionSpec>(parsed);
  if (log_prompts_) {
    exchange->record().prompt = spec.prompts.front().text;
  }
  std::make_shared<CompletionTask>(std::move(spec), model_, scheduler_, std::move(exchange))->Start();
}

// llama.cpp's "content" or vLLM's "prompt".
void Api::Tokenize(const HttpRequest& request, std::unique_ptr<Exchange> exchange) {
  const Parsed<RequestJson> body = ParseObject(request.body);
  if (const auto* const error = std::get_if<ApiError>(&body)) {
    return exchange->Fail(*error);
  }
  Fields fields(std::get<RequestJson>(body));
  std::string text;
  bool parse_special = false;
  fields.Text("prompt", &text);
  fields.Text("content", &text);
  fields.Bool("parse_special", &parse_special);
  if (fields.Find("content") == nullptr && fields.Find("prompt") == nullptr) {
    fields.Wrong("content", "is missing");
  }
  const Result<std::vector<int32_t>> ids = model_->tokenizer->Encode(text, parse_special);
  if (!ids.ok()) {
    fields.Wrong("content", ids.status().message());
  }
  if (!fields.ok()) {
    return exchange->Fail(*fields.error());
  }
  exchange->Answer(JsonResponse({{"tokens", *ids}, {"count", ids->size()}, {"max_model_len", model_->context}}));
}

void Api::Detokenize(const HttpRequest& request, std::unique_ptr<Exchange> exchange) {
  const Parsed<RequestJson> body = ParseObject(request.body);
  if (const auto* const error = std::get_if<ApiError>(&body)) {
    return exchange->Fail(*error);
  }
  Fields fields(std::get<RequestJson>(body));
  std::vector<int32_t> ids;
  fields.Ids("tokens", model_->vocab_size, &ids);
  if (fields.Find("tokens") == nullptr) {
    fields.Wrong("tokens", "is missing");
  }
  if (!fields.ok()) {
    return exchange->Fail(*fields.error());
  }
  const std::string text = model_->tokenizer->Decode(ids, false);
  exchange->Answer(JsonResponse({{"content", text}, {"prompt", text}}));
}

}  // namespace phidias::serve
