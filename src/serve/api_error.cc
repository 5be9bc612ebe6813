#include "serve/api_error.h"

#include <utility>

#include "serve/json.h"

namespace phidias::serve {

ApiError BadField(std::string param, std::string message) {
  return {.status = 400, .message = std::move(message), .param = std::move(param)};
}

ApiError Overloaded(int retry_after, std::string message) {
  return {.status = 429,
          .message = std::move(message),
          .type = "rate_limit_error",
          .code = "overloaded",
          .retry_after = retry_after};
}

ApiError Unavailable(std::string message) {
  return {.status = 503,
          .message = std::move(message),
          .type = "service_unavailable_error",
          .code = "unavailable",
          .retry_after = 1};
}

ApiError ServerError(std::string message) {
  return {.status = 500, .message = std::move(message), .type = "server_error"};
}

ApiError FromStatus(const Status& status) {
  switch (status.code()) {
    case StatusCode::kInvalidArgument: return {.status = 400, .message = status.message()};
    case StatusCode::kResourceExhausted: return Unavailable(status.message());
    case StatusCode::kCancelled: return Unavailable("the server is shutting down");
    default: return ServerError(status.message());
  }
}

std::string ErrorBody(const ApiError& error) {
  const auto or_null = [](const std::string& text) { return text.empty() ? Json() : Json(text); };
  return Dump({{"error",
                {{"message", error.message},
                 {"type", error.type},
                 {"param", or_null(error.param)},
                 {"code", or_null(error.code)}}}});
}

HttpResponse ErrorResponse(const ApiError& error) {
  HttpResponse response;
  response.status = error.status;
  if (error.retry_after > 0) {
    response.headers.emplace_back("Retry-After", std::to_string(error.retry_after));
  }
  if (error.status == 401) {
    response.headers.emplace_back("WWW-Authenticate", "Bearer");
  }
  response.body = ErrorBody(error);
  return response;
}

}  // namespace phidias::serve
