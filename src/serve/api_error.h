#pragma once

#include <optional>
#include <string>
#include <variant>

#include "common/status.h"
#include "serve/http.h"

namespace phidias::serve {

// What went wrong, as OpenAI's clients want to hear it.
struct ApiError {
  int status = 400;
  std::string message = {};
  std::string type = "invalid_request_error";
  std::string param = {};  // the field, "" (null) if it isn't one
  std::string code = {};   // "" (null) if there is none
  int retry_after = 0;     // seconds; 0: no such header
};

// A value or the error that says why there is none.
template <class T>
using Parsed = std::variant<T, ApiError>;

ApiError BadField(std::string param, std::string message);
ApiError Overloaded(int retry_after, std::string message);  // 429
ApiError Unavailable(std::string message);                  // 503, worth another try
ApiError ServerError(std::string message);                  // 500
// What the engine says about a request.
ApiError FromStatus(const Status& status);

// {"error": {...}}
std::string ErrorBody(const ApiError& error);
HttpResponse ErrorResponse(const ApiError& error);

}  // namespace phidias::serve
